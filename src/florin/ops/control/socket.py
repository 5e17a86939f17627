"""Socket: the socket on which a running supervisor takes orders from the command line."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.fleet.orders import Order, OrderUndone, Reply, Tell
from florin.ops.supervisor.watchdog import described
from florin.ops.system.console import OperatorError, say

_PATH_LIMIT = 100  # the kernel's limit for a socket's path is 108 bytes, elsewhere 104
_LINE_LIMIT = 2**20
_SILENT_S = 10.0
_ORDER_WITHIN_S = 10.0  # a connection held without an order must not hold up the end


async def serve_orders(
    home: Home, obey: Callable[[Order, Tell], Awaitable[Reply]]
) -> asyncio.Server:
    """Take orders until the server is closed. Only this user reaches the socket.

    An order goes on when the one who gave it goes away.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(reply: Reply) -> None:
            with contextlib.suppress(OSError, RuntimeError):
                writer.write(msgspec.json.encode(reply) + b"\n")

        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(_ORDER_WITHIN_S):
                    line = await reader.readline()
                order = msgspec.json.decode(line, type=Order)
                reply = await obey(order, lambda said: send(Reply(said)))
            except OrderUndone as error:
                reply = Reply(str(error), done=False, document=error.document)
            except (OperatorError, TimeoutError, msgspec.DecodeError) as error:
                reply = Reply(str(error) or "It took too long.", done=False)
            except asyncio.CancelledError:
                reply = Reply("The supervisor was stopped before it was done.", done=False)
            except Exception as error:  # noqa: BLE001 -- who gave the order is answered
                said = f"An error that Florin does not expect: {described(error)}."
                say(said)
                reply = Reply(said, done=False)
            send(reply)
            await writer.drain()

    path = socket_path(home)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path)
    finally:
        os.umask(before)


async def send_order(home: Home, what: Order, *, tell: Tell | None = None) -> Reply:
    """Give an order, pass on what is said meanwhile, and return how it went."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(home), limit=_LINE_LIMIT)
        with contextlib.closing(writer):
            writer.write(msgspec.json.encode(what) + b"\n")
            first = asyncio.ensure_future(reader.readline())
            await asyncio.wait({first}, timeout=_SILENT_S)
            if not first.done() and tell is not None:
                tell(f"The supervisor says nothing yet; its log is {home.log('supervisor')}.")
            line = await first
            while True:
                reply = msgspec.json.decode(line, type=Reply)
                if reply.done is not None:
                    break
                if tell is not None:
                    tell(reply.said)
                line = await reader.readline()
    except msgspec.DecodeError:
        raise OperatorError(
            "The supervisor ended before it was done; florin up adopts what runs and finishes it."
        ) from None
    except OSError:
        raise OperatorError(
            f"No supervisor answers in {home.path}; start it with florin up."
        ) from None
    return reply


def socket_path(home: Home) -> Path:
    path = home.run / "control.sock"
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        return path
    key = hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"florin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise OperatorError(
            f"{folder} belongs to another user; choose a shorter path with --home DIR."
        )
    return folder / f"{key}.sock"
