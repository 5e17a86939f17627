"""TCP gate: stands between a process and a server, and makes the server slow or absent."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.ports import free_port
from tests.support.stream_server import stop_listening


@dataclass(slots=True)
class Gate:
    """`hold`: bytes go neither way, connections stay; `cut`: every connection is closed at once."""

    port: int
    target: int
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def hold(self) -> None:
        self._passing.clear()

    def cut(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def open(self) -> None:
        self._refusing = False
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        try:
            await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        finally:
            self._writers -= {writer, there[1]}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while text := await reader.read(2**16):
                await self._passing.wait()
                writer.write(text)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def gate(target: int) -> AsyncGenerator[Gate]:
    """Listen on a port of loopback for connections to the port `target`."""
    made = Gate(free_port(), target)
    made.open()
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    try:
        yield made
    finally:
        await stop_listening(server)
        made.cut()
