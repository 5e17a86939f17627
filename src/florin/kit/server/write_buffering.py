"""Write buffering: an instance writes the head and the body of a response in one call.

Uvicorn writes them one after the other. If an instance is killed in between, the balancer has
already forwarded the head and cannot repeat the request at another instance. Written together, the
response arrives whole or not at all, and then the balancer repeats the request.
"""

import asyncio
from typing import Any


class BufferedTransport:
    """A transport that combines the writes of one iteration of the event loop."""

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
