"""Stream server: a connection that arrives while its server is closed."""

import asyncio
import socket

from tests.support.stream_server import stop_listening


async def test_a_connection_accepted_at_the_end_is_served_and_closed() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        for _ in range(2):  # the loop sees it, and accepts it
            await asyncio.sleep(0)
        await stop_listening(server)
    async with asyncio.timeout(10):
        await ended.wait()
