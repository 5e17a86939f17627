"""Runtime API: commands to a running HAProxy over its socket, and its answers as values."""

import asyncio
import contextlib
import csv
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from florin.ops.system.console import OperatorError

_WITHIN_S = 5.0
_LIMIT = 2**24
_LINUX = sys.platform == "linux"
# HAProxy's answers to a successful change. Every other answer to a change is a refusal.
_FINE = ("", "Transaction created", "Transaction updated", "Success!", "Committing")
_FINE_ABOUT_ADDRESSES = ("IP changed from", "port changed from", "no need to change")

Admin = Literal["ready", "drain", "maintenance"]
Check = Literal["up", "down", "draining", "unknown"]


class HaproxyUnreachable(OperatorError):
    """No HAProxy answers on the socket."""


class CommandRefused(OperatorError):
    """HAProxy refused a command; the message is its answer."""


class ServerRow(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of one server of one backend in HAProxy."""

    backend: str
    server: str
    address: str
    admin: Admin
    check: Check
    sessions: int
    requests: int
    status: str


async def send_command(socket: Path, command: str, *, within_s: float = _WITHIN_S) -> str:
    """Send one command and return the answer. Raises HaproxyUnreachable."""
    try:
        async with asyncio.timeout(within_s), _connected(socket) as (reader, writer):
            writer.write(command.encode() + b"\n")
            await writer.drain()
            writer.write_eof()
            return (await reader.read(-1)).decode(errors="replace").strip()
    except (OSError, TimeoutError) as error:
        raise HaproxyUnreachable(
            f"HAProxy does not answer on {socket}: {error or 'no answer in time'}"
        ) from None


async def send_changes(socket: Path, commands: Sequence[str]) -> None:
    """Send several changes in one request.

    Raises HaproxyUnreachable, or CommandRefused with the first refusal.
    """
    if not commands:
        return
    said = await send_command(socket, ";".join(commands))
    for line in said.splitlines():
        if not line.startswith(_FINE_ABOUT_ADDRESSES) and line.strip() not in _FINE:
            raise CommandRefused(line.strip())


async def replace_certificate(socket: Path, name: str, pem: str) -> None:
    """Replace the loaded certificate and key for new connections. Raises CommandRefused."""
    # The payload ends at an empty line, so it must not contain one.
    payload = "\n".join(line for line in pem.splitlines() if line.strip())
    said = await send_command(socket, f"set ssl cert {name} <<\n{payload}\n")
    if "Transaction" not in said:
        raise CommandRefused(said)
    said = await send_command(socket, f"commit ssl cert {name}")
    if "Success" not in said:
        await send_command(socket, f"abort ssl cert {name}")
        raise CommandRefused(said)


async def read_servers(socket: Path) -> list[ServerRow]:
    """Return every server of every backend. Raises HaproxyUnreachable."""
    text = await send_command(socket, "show stat")
    lines = csv.DictReader(text.removeprefix("# ").splitlines())
    return [_row(line) for line in lines if line["svname"] not in ("FRONTEND", "BACKEND") and line]


def _row(line: dict[str, str]) -> ServerRow:
    said = line["status"]
    admin: Admin = "ready"
    if said.startswith("MAINT"):
        admin = "maintenance"
    elif said.startswith("DRAIN"):
        admin = "drain"
    check: Check = "unknown"
    if said.startswith("UP") or (admin == "drain" and "agent" not in said):
        check = "up"
    elif said.startswith("DOWN"):
        check = "down"
    elif said.startswith("NOLB"):
        check = "draining"  # its readiness check answers 404
    return ServerRow(
        backend=line["pxname"],
        server=line["svname"],
        address=line["addr"],
        admin=admin,
        check=check,
        sessions=int(line["scur"] or 0),
        requests=int(line["stot"] or 0),
        status=said,
    )


@asynccontextmanager
async def _connected(
    socket: Path,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with contextlib.ExitStack() as stack:
        path = str(socket)
        if _LINUX:
            # A socket's path has at most 107 bytes; the path of the home may be longer.
            folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            path = f"/proc/self/fd/{folder}/{socket.name}"
        reader, writer = await asyncio.open_unix_connection(path, limit=_LIMIT)
        stack.callback(writer.close)
        yield reader, writer
