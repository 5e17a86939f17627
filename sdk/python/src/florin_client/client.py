"""Clients: `Florin` and `AsyncFlorin` send calls, with the same operations and rules.

A call is repeated after a broken connection, 429 and 502 to 504, under one idempotency key, until
its budget of time is used up (`calls.py` decides). A client can be used by many threads or tasks.
"""

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import httpx
import msgspec

from florin_client.calls import Attempts, Call
from florin_client.errors import ApiError, JobFailed
from florin_client.nouns import Job, decode_answer
from florin_client.operations import Operations
from florin_client.streams import AsyncEventStream, EventStream

T = TypeVar("T")
VERSION = "0.2.0"
_CHUNK = 1 << 20
_SUCCESS = range(200, 300)
_ENDED = frozenset({"finished", "failed"})


class ClientOptions:
    """What both clients share. `consistency`: the token of the latest write; reads send it, so that
    they are never older. It may be taken to another client or process.
    """

    is_sync: bool

    def __init__(self, url: str, token: str | None, budget_s: float) -> None:
        self.url = url.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self.token = token
        self.budget_s = budget_s
        self.consistency: str | None = None

    def head(self, call: Call[Any]) -> dict[str, str]:
        """The headers of a request."""
        given = call.arguments
        version = f"florin-client/{VERSION} python/{platform.python_version()}"
        headers = {"User-Agent": version, **given.headers}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if given.key is not None:
            headers["Idempotency-Key"] = given.key
        if call.method == "GET" and self.consistency is not None:
            headers["Florin-Consistency"] = self.consistency
        if given.content is not None or given.body is not None:
            headers.setdefault("Content-Type", given.media_type)
        if isinstance(given.content, Path):
            headers["Content-Length"] = str(given.content.stat().st_size)
        return headers

    def check_status(self, response: httpx.Response, content: bytes) -> None:
        """Raises ApiError. Remembers the position of a write."""
        self.consistency = response.headers.get("florin-consistency", self.consistency)
        if response.status_code in _SUCCESS:
            return
        try:
            problem = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):  # of a proxy
            problem = {"detail": content[:200].decode("utf-8", "replace")}
        retry_after_s = read_retry_after(response.headers.get("retry-after"))
        raise ApiError.of(response.status_code, problem, retry_after_s)

    @staticmethod
    def sent_body(call: Call[Any]) -> bytes | None:
        given = call.arguments
        if given.body is not None:
            return msgspec.json.encode(given.body)
        return given.content if isinstance(given.content, bytes) else None


class Florin(ClientOptions, Operations):
    """The synchronous client. `url`: of the installation, such as `https://florin.example`.
    `token`: an API key, or the access token of a member. `budget_s`: how long a call is tried.
    `http`: an httpx.Client with your own settings, such as certificates.
    """

    is_sync = True

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        budget_s: float = 60,
        timeout_s: float = 30,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, token, budget_s)
        self.http = http or httpx.Client(timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call until there is a definite answer. Raises ApiError, OutcomeUnknown,
        Unreachable.
        """
        attempts = Attempts(call, self.budget_s)
        while True:
            try:
                response = self.http.send(self._request(call))
                self.check_status(response, response.content)
            except (httpx.TransportError, ApiError) as failure:
                time.sleep(attempts.delay_after(failure))
                continue
            if call.kind is bytes:
                return response.content  # pyright: ignore[reportReturnType]
            return decode_answer(response.content, call.kind)

    def save(self, call: Call[bytes], path: Path) -> Path:
        """Write the file that a call answers to `path`, once it is whole."""
        attempts = Attempts(call, self.budget_s)
        with whole_file(path) as file:
            while True:
                try:
                    file.seek(0)
                    file.truncate()
                    self._receive(call, file)
                except (httpx.TransportError, ApiError) as failure:
                    time.sleep(attempts.delay_after(failure))
                    continue
                return path

    def follow_events(self, since: str | None = None) -> EventStream:
        """The events from now on, or after the event `since`. The stream is open when this returns;
        it connects again by itself, and misses nothing. Raises ApiError, Unreachable.
        """
        return EventStream(self, since)

    def wait_for_job(self, job: str, *, timeout_s: float = 300) -> Job:
        """The job once it has finished. Raises JobFailed."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get_job(job)
            if has_finished(found, late=time.monotonic() > deadline):
                return found
            time.sleep(0.2)

    def _request(self, call: Call[Any]) -> httpx.Request:
        given = call.arguments
        content = read_chunks(given.content) if isinstance(given.content, Path) else None
        return self.http.build_request(
            call.method,
            self.url + call.path,
            params=given.query,
            headers=self.head(call),
            content=content or self.sent_body(call),
        )

    def _receive(self, call: Call[Any], file: BinaryIO) -> None:
        response = self.http.send(self._request(call), stream=True)
        try:
            refused = response.status_code not in _SUCCESS
            self.check_status(response, response.read() if refused else b"")
            file.writelines(response.iter_bytes())
        finally:
            response.close()


class AsyncFlorin(ClientOptions, Operations):
    """The asynchronous client; as Florin, with operations to await."""

    is_sync = False

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        budget_s: float = 60,
        timeout_s: float = 30,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, token, budget_s)
        self.http = http or httpx.AsyncClient(timeout=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.http.aclose()

    async def send(self, call: Call[T]) -> T:
        """As Florin.send. If the task is cancelled, the outcome of a write is unknown."""
        attempts = Attempts(call, self.budget_s)
        while True:
            try:
                response = await self.http.send(self._request(call))
                self.check_status(response, response.content)
            except (httpx.TransportError, ApiError) as failure:
                await asyncio.sleep(attempts.delay_after(failure))
                continue
            if call.kind is bytes:
                return response.content  # pyright: ignore[reportReturnType]
            return decode_answer(response.content, call.kind)

    async def save(self, call: Call[bytes], path: Path) -> Path:
        attempts = Attempts(call, self.budget_s)
        with whole_file(path) as file:
            while True:
                try:
                    file.seek(0)
                    file.truncate()
                    await self._receive(call, file)
                except (httpx.TransportError, ApiError) as failure:
                    await asyncio.sleep(attempts.delay_after(failure))
                    continue
                return path

    async def follow_events(self, since: str | None = None) -> AsyncEventStream:
        """As Florin.follow_events, for `async for`."""
        stream = AsyncEventStream(self, since)
        await stream.open()
        return stream

    async def wait_for_job(self, job: str, *, timeout_s: float = 300) -> Job:
        deadline = time.monotonic() + timeout_s
        while True:
            found = await self.get_job(job)
            if has_finished(found, late=time.monotonic() > deadline):
                return found
            await asyncio.sleep(0.2)

    def _request(self, call: Call[Any]) -> httpx.Request:
        given = call.arguments
        content = read_chunks_async(given.content) if isinstance(given.content, Path) else None
        return self.http.build_request(
            call.method,
            self.url + call.path,
            params=given.query,
            headers=self.head(call),
            content=content or self.sent_body(call),
        )

    async def _receive(self, call: Call[Any], file: BinaryIO) -> None:
        response = await self.http.send(self._request(call), stream=True)
        try:
            refused = response.status_code not in _SUCCESS
            self.check_status(response, await response.aread() if refused else b"")
            async for chunk in response.aiter_bytes():
                file.write(chunk)
        finally:
            await response.aclose()


class whole_file:  # noqa: N801 -- used as a function
    """A file that has its name only once it is whole and on disk. Raises FileExistsError."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(f"{path} exists")
        self._path = path
        self._part = path.with_name(f"{path.name}.part")

    def __enter__(self) -> BinaryIO:
        # Codes of cards are money: no other user of the machine may read them.
        opened = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(opened, "w+b")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


async def read_chunks_async(path: Path) -> AsyncIterator[bytes]:
    for chunk in read_chunks(path):
        yield chunk


def read_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date. None: absent or unreadable."""
    if value is None:
        return None
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def has_finished(job: Job, *, late: bool) -> bool:
    """Raises JobFailed."""
    if job.state == "failed":
        reasons = "; ".join(each.detail for each in job.errors)
        raise JobFailed(f"the job {job.id} failed: {reasons}", job)
    if job.state not in _ENDED and late:
        raise JobFailed(f"the job {job.id} has not ended: {job.done} of {job.total}", job)
    return job.state in _ENDED
