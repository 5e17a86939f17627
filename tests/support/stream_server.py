"""Stream server: close an asyncio server without losing a connection that it has just accepted."""

import asyncio

_TURNS = 3  # of the loop: to make the connection, to announce it, to begin to serve it


async def stop_listening(server: asyncio.Server) -> None:
    """Accept no more, let accepted connections begin, then close the server.

    In Python 3.11 `close` between an accept and its connection leaves a socket that no one closes,
    which is reported in another test, when it is collected.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()
