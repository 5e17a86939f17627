"""Socket: the Unix socket on which a running supervisor accepts orders from the command line."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.fleet.orders import TIMED_OUT, Order, OrderUndone, Reply, ReportProgress
from florin.ops.supervisor.watchdog import described
from florin.ops.system.console import OperatorError, say

_PATH_LIMIT = 100  # the kernel's limit for a socket's path is 108 bytes, elsewhere 104
_LINE_LIMIT = 2**20
_SILENT_S = 10.0
_ORDER_WITHIN_S = 10.0  # a connection that sends no order must not delay the shutdown


async def serve_orders(
    home: Home, execute: Callable[[Order, ReportProgress], Awaitable[Reply]]
) -> asyncio.Server:
    """Accept orders until the server is closed. Only the user who runs it can reach the socket.

    An order continues when its client disconnects.
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
                reply = await execute(order, lambda line: send(Reply(line)))
            except OrderUndone as error:
                reply = Reply(str(error), done=False, document=error.document)
            except (OperatorError, TimeoutError, msgspec.DecodeError) as error:
                reply = Reply(str(error) or TIMED_OUT, done=False)
            except asyncio.CancelledError:
                reply = Reply(
                    "The supervisor was stopped before the order was complete.", done=False
                )
            except Exception as error:  # noqa: BLE001 -- the client gets an answer in any case
                message = f"Unexpected error: {described(error)}."
                say(message)
                reply = Reply(message, done=False)
            send(reply)
            await writer.drain()

    path = socket_path(home)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path)
    finally:
        os.umask(before)


async def send_order(home: Home, what: Order, *, report: ReportProgress | None = None) -> Reply:
    """Send an order, pass its progress to `report`, and return the final reply.

    Raises OperatorError when no supervisor answers or when it ends first.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(home), limit=_LINE_LIMIT)
        with contextlib.closing(writer):
            writer.write(msgspec.json.encode(what) + b"\n")
            first = asyncio.ensure_future(reader.readline())
            await asyncio.wait({first}, timeout=_SILENT_S)
            if not first.done() and report is not None:
                report(
                    f"No answer from the supervisor for {_SILENT_S:.0f} s; still waiting. Its log"
                    f" is {home.log('supervisor')}."
                )
            line = await first
            while True:
                reply = msgspec.json.decode(line, type=Reply)
                if reply.done is not None:
                    break
                if report is not None:
                    report(reply.message)
                line = await reader.readline()
    except msgspec.DecodeError:
        raise OperatorError(
            "The supervisor ended before the order was complete. Run florin up: it adopts the"
            " running parts and finishes the order."
        ) from None
    except OSError:
        raise OperatorError(
            f"No supervisor is running for {home.path}; start one with florin up."
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
