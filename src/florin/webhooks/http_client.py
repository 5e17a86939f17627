"""HTTP client: one request to an endpoint, with limits on time and size, never to an internal
address. Redirects are not followed: a 3xx answer is a failure like any other.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Any, cast

import httpcore
import httpx
import msgspec

from florin.webhooks.addresses import AddressRefused, AddressRules, resolve_host

CONNECT_WITHIN_S = 3.0
ANSWER_WITHIN_S = 10.0  # from the start of an attempt to the end of its answer
ANSWER_MAX = 64 * 1024  # bytes that are read of an answer
EXCERPT_MAX = 1000  # characters of it that are kept
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError,
           UnicodeError)  # fmt: skip


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


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, rules: AddressRules, executor: Executor | None) -> None:
        self._rules = rules
        self._executor = executor
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception | None = None
        for address in await resolve_host(host, port, self._rules, self._executor):
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError("the name has no address")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a Unix socket is no address of a webhook")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class EndpointClient:
    """The connections to one endpoint."""

    def __init__(
        self, network: GuardedNetwork, context: ssl.SSLContext, url: str, connections: int
    ) -> None:
        self.url = httpcore.URL(url)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            network_backend=network,
        )

    async def post(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Attempt:
        """Make an attempt; every failure of the receiver is its result."""
        attempt = Attempt(at=time.time())
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._exchange(attempt, headers, body)
        except TimeoutError:
            attempt.status = None
            attempt.error = f"no complete answer within {ANSWER_WITHIN_S:g} s"
        except (AddressRefused, *_ERRORS) as error:
            attempt.status = None
            attempt.error = f"{type(error).__name__}: {_cleaned(str(error))}"[:300]
        attempt.duration_ms = round((time.perf_counter() - started) * 1000)
        return attempt

    async def _exchange(
        self, attempt: Attempt, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        timeout = {"connect": CONNECT_WITHIN_S, "read": ANSWER_WITHIN_S, "write": ANSWER_WITHIN_S,
                   "pool": ANSWER_WITHIN_S}  # fmt: skip
        async with self._pool.stream(
            "POST", self.url, headers=headers, content=body, extensions={"timeout": timeout}
        ) as response:
            read = bytearray()
            async for chunk in response.aiter_stream():
                read += chunk
                if len(read) >= ANSWER_MAX:
                    break
            attempt.status = response.status
            attempt.answer = _cleaned(bytes(read[: EXCERPT_MAX * 4]).decode("utf-8", "replace"))[
                :EXCERPT_MAX
            ]
            attempt.retry_after_s = _retry_after(response.headers)

    async def close(self) -> None:
        await self._pool.aclose()


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) <= 5:  # noqa: PLR2004
            return int(value)
    return None


def _cleaned(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def make_tls_context() -> ssl.SSLContext:
    """The certificates that are trusted: certifi's, or those of SSL_CERT_FILE."""
    return httpx.create_ssl_context()
