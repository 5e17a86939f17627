"""Write buffering: an answer leaves an instance in one piece.

Uvicorn writes the head and the body of an answer one after the other. An instance killed between
the two leaves a balancer with a head that it has passed on already and cannot take back: the one
failure that no repeating can hide. Written together the answer is there whole, or not at all and
asked for again.
"""

import asyncio
from typing import Any


class BufferedTransport:
    """A transport that hands on what is written in one turn of the loop in one call."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        if self._held:
            whole = b"".join(self._held)
            self._held.clear()
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
