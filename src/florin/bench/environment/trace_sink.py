"""Trace sink: accepts what an exporter of traces sends, and counts the requests."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class TraceSink:
    """`url` for OTEL_EXPORTER_OTLP_ENDPOINT, and how many requests came."""

    url: str = ""
    requests: int = 0


@asynccontextmanager
async def trace_sink() -> AsyncGenerator[TraceSink]:
    """Listen on loopback until the end."""
    sink = TraceSink()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                sink.requests += 1
                writer.write(_OK)
                await writer.drain()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    sink.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sink
    finally:
        server.close()
