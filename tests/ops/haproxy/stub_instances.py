"""Stub instances: small HTTP/1.1 servers inside the test, which record their requests."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.stream_server import stop_listening

REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


@dataclass(slots=True)
class Call:
    """One received request, whether or not it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class StandIn:
    """One stub instance: its answer to probes, its delay, and the requests it received."""

    name: str
    ready: int = 200
    delay_s: float = 0
    breaks: int = 0  # so many of the next requests are read and aborted without an answer
    # Clear: it accepts connections and answers nothing, like a stopped process.
    speaking: asyncio.Event = field(default_factory=asyncio.Event)
    # Clear: probes are answered, other requests wait until it is set.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)
    probes: int = 0
    idled_s: list[float] = field(default_factory=list[float])  # before each reuse of a connection
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, header: str, value: str) -> int:
        return sum(call.headers.get(header) == value for call in self.calls)

    async def start(self) -> None:
        self.speaking.set()
        self.answering.set()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=2**20, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """Stop like a killed process: close the port and reset every connection."""
        if self._server is not None:
            await stop_listening(self._server)
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        answered: float | None = None
        try:
            while line := await reader.readline():
                if answered is not None:
                    self.idled_s.append(time.monotonic() - answered)
                await self._answer(line, reader, writer)
                answered = time.monotonic()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, path, _ = line.decode().split()
        headers: dict[str, str] = {}
        while (raw := await reader.readline()).strip():
            name, _, value = raw.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        await self.speaking.wait()
        if path == "/health/ready":
            self.probes += 1
            await self._say(writer, self.ready, {})
            return
        self.calls.append(Call(method, path, headers, body))
        if self.breaks:
            self.breaks -= 1
            writer.transport.abort()
            return
        await self.answering.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._say(writer, 200, {"name": self.name, "headers": headers})

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        await writer.drain()


@asynccontextmanager
async def standins(*names: str) -> AsyncGenerator[dict[str, StandIn]]:
    made = {name: StandIn(name) for name in names}
    try:
        for each in made.values():
            await each.start()
        yield made
    finally:
        for each in made.values():
            each.speaking.set()
            each.answering.set()
            with contextlib.suppress(OSError):
                await each.die()
