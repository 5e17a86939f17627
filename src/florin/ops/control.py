"""Control: the socket on which a running supervisor takes orders from the command line."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from florin.ops.home import Home
from florin.ops.tell import Unable

_PATH_LIMIT = 100  # the kernel's limit for a socket's path is 108 bytes, elsewhere 104


class Order(msgspec.Struct, frozen=True):
    """What the supervisor is asked to do."""

    verb: str
    name: str = ""


class Reply(msgspec.Struct, frozen=True):
    """How it went; `said` is a sentence for the user."""

    done: bool
    said: str


async def listen(home: Home, obey: Callable[[Order], Awaitable[str]]) -> asyncio.Server:
    """Take orders until the server is closed. Only this user reaches the socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                order = msgspec.json.decode(await reader.readline(), type=Order)
                reply = Reply(done=True, said=await obey(order))
            except (Unable, TimeoutError, msgspec.DecodeError) as error:
                reply = Reply(done=False, said=str(error) or "It took too long.")
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()

    path = socket_path(home)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path)
    finally:
        os.umask(before)


async def order(home: Home, what: Order, *, within_s: float = 120) -> str:
    """Give an order and return what the supervisor says; raises Unable when it could not."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_unix_connection(socket_path(home))
            with contextlib.closing(writer):
                writer.write(msgspec.json.encode(what) + b"\n")
                reply = msgspec.json.decode(await reader.readline(), type=Reply)
    except TimeoutError:
        raise Unable(f"The supervisor did not finish within {within_s:.0f} s.") from None
    except (OSError, msgspec.DecodeError):
        raise Unable(f"No supervisor answers in {home.path}; start it with florin up.") from None
    if not reply.done:
        raise Unable(reply.said)
    return reply.said


def socket_path(home: Home) -> Path:
    path = home.run / "control.sock"
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        return path
    key = hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"florin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise Unable(f"{folder} belongs to another user; choose a shorter path with --home DIR.")
    return folder / f"{key}.sock"
