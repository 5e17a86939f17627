"""HTTP client: one request to an endpoint, with limits on time and size, never to an internal
address. Redirects are not followed: a 3xx answer is a failure like any other.
"""

import asyncio
import re
import ssl
import time
from concurrent.futures import Executor
from urllib.parse import urlsplit

import httpx
import msgspec

from florin.webhooks.addresses import (
    RESOLVE_WITHIN_S,
    AddressRefused,
    AddressRules,
    resolve_host,
)
from florin.webhooks.http_connection import Answer, AnswerNotValid, HttpConnection

CONNECT_WITHIN_S = 3.0
ANSWER_WITHIN_S = 10.0  # from the start of an attempt to the end of its answer
EXCERPT_MAX = 1000  # characters of an answer that are kept
_UNUSED_S = 15.0  # then its receiver may have closed a connection
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
# Of a request line and of a host: no space, no line break.
_TARGET = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"[\x21-\x7e]+")
_PORTS = {"https": 443, "http": 80}


class Attempt(msgspec.Struct, kw_only=True):
    """A try of a delivery: its answer, or the error without one. `answer` has the beginning of the
    answer's body.
    """

    at: float  # Unix seconds
    status: int | None = None
    error: str | None = None
    duration_ms: int = 0
    answer: str = ""
    retry_after_s: int | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


class GuardedNetwork:
    """Opens connections to checked addresses only."""

    def __init__(self, rules: AddressRules, executor: Executor | None) -> None:
        self._rules = rules
        self._executor = executor

    async def connect(self, host: str, port: int, context: ssl.SSLContext | None) -> HttpConnection:
        """Raises AddressRefused, OSError (with its kinds, TimeoutError and ssl.SSLError)."""
        failed: OSError | None = None
        try:
            addresses = await resolve_host(host, port, self._rules, self._executor)
        except TimeoutError:  # another limit than that of the answer
            message = f"the name was not resolved within {RESOLVE_WITHIN_S:g} s"
            raise ConnectionError(message) from None
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    return await self._open(address, port, context, host)
            except TimeoutError:
                failed = ConnectionError(f"no connection within {CONNECT_WITHIN_S:g} s")
            except OSError as error:
                failed = error
        raise failed or ConnectionError("the name has no address")

    async def _open(
        self, address: str, port: int, context: ssl.SSLContext | None, host: str
    ) -> HttpConnection:
        """Connect to an IP address; `host` is whose certificate is asked for."""
        _, connection = await asyncio.get_running_loop().create_connection(
            HttpConnection,
            address,
            port,
            ssl=context,
            server_hostname=None if context is None else host,
        )
        return connection


class EndpointClient:
    """The connections to one endpoint."""

    def __init__(
        self, network: GuardedNetwork, context: ssl.SSLContext, url: str, connections: int
    ) -> None:
        """Raises ValueError: it is no URL that an endpoint can have."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or not _TARGET.fullmatch(target):
            raise ValueError("no URL of an endpoint")
        self._network = network
        self._context = context if parts.scheme == "https" else None
        self._host, self._port = host, parts.port or _PORTS[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        where = shown if parts.port is None else f"{shown}:{parts.port}"
        self._request_line = f"POST {target} HTTP/1.1\r\nhost: {where}\r\n".encode()
        self._room = asyncio.Semaphore(connections)
        self._unused: list[tuple[float, HttpConnection]] = []

    async def post(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Attempt:
        """Make an attempt; every failure of the receiver is its result."""
        attempt = Attempt(at=time.time())
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._room:
                _describe(attempt, await self._exchange(headers, body))
        except TimeoutError:
            attempt.error = f"no complete answer within {ANSWER_WITHIN_S:g} s"
        except (AddressRefused, AnswerNotValid, OSError, UnicodeError) as error:
            attempt.error = f"{type(error).__name__}: {_cleaned(str(error))}"[:300]
        attempt.duration_ms = round((time.perf_counter() - started) * 1000)
        return attempt

    async def _exchange(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        request = b"".join(
            (
                self._request_line,
                *(b"%b: %b\r\n" % header for header in headers),
                b"content-length: %d\r\n\r\n" % len(body),
                body,
            )
        )
        connection = self._take_unused() or await self._network.connect(
            self._host, self._port, self._context
        )
        try:
            return await connection.exchange(request)
        finally:
            if connection.is_reusable:
                self._unused.append((time.monotonic(), connection))
            else:
                connection.close()

    def _take_unused(self) -> HttpConnection | None:
        """The connection that was used last, so that those that are not needed grow old."""
        while self._unused:
            since, connection = self._unused.pop()
            if connection.is_reusable and time.monotonic() - since < _UNUSED_S:
                return connection
            connection.close()
        return None

    async def close(self) -> None:
        while self._unused:
            self._unused.pop()[1].close()


def _describe(attempt: Attempt, answer: Answer) -> None:
    attempt.status = answer.status
    text = bytes(answer.body[: EXCERPT_MAX * 4]).decode("utf-8", "replace")
    attempt.answer = _cleaned(text)[:EXCERPT_MAX]
    after = answer.retry_after
    if after.isdigit() and len(after) <= 5:  # noqa: PLR2004
        attempt.retry_after_s = int(after)


def _cleaned(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def make_tls_context() -> ssl.SSLContext:
    """The certificates that are trusted: certifi's, or those of SSL_CERT_FILE."""
    return httpx.create_ssl_context()
