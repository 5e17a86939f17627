"""Runtime API: what is asked of a running HAProxy, and its answers as values."""

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
# What HAProxy says when it did as told. Everything else it says to a change is a refusal.
_FINE = ("", "Transaction created", "Transaction updated", "Success!", "Committing")
_FINE_ABOUT_ADDRESSES = ("IP changed from", "port changed from", "no need to change")

Admin = Literal["ready", "drain", "maintenance"]
Check = Literal["up", "down", "draining", "unknown"]


class HaproxyUnreachable(OperatorError):
    """No HAProxy answers at the socket."""


class CommandRefused(OperatorError):
    """HAProxy did not do what it was told; its words."""


class ServerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One server of one backend, as HAProxy sees it now."""

    backend: str
    server: str
    address: str
    admin: Admin
    check: Check
    sessions: int
    requests: int
    said: str


async def send_command(socket: Path, command: str, *, within_s: float = _WITHIN_S) -> str:
    """Send one command and return the answer. Raises Unreachable."""
    try:
        async with asyncio.timeout(within_s), _connected(socket) as (reader, writer):
            writer.write(command.encode() + b"\n")
            await writer.drain()
            writer.write_eof()
            return (await reader.read(-1)).decode(errors="replace").strip()
    except (OSError, TimeoutError) as error:
        raise HaproxyUnreachable(f"{socket}: {error or 'no answer in time'}") from None


async def send_changes(socket: Path, commands: Sequence[str]) -> None:
    """Send changes, one after the other in one go. Raises Unreachable; Refused at the first no."""
    if not commands:
        return
    said = await send_command(socket, ";".join(commands))
    for line in said.splitlines():
        if not line.startswith(_FINE_ABOUT_ADDRESSES) and line.strip() not in _FINE:
            raise CommandRefused(line.strip())


async def replace_certificate(socket: Path, name: str, pem: str) -> None:
    """Put another certificate and key in the place of the loaded one, for new connections."""
    # The payload ends at an empty line, so it must not hold one.
    payload = "\n".join(line for line in pem.splitlines() if line.strip())
    said = await send_command(socket, f"set ssl cert {name} <<\n{payload}\n")
    if "Transaction" not in said:
        raise CommandRefused(said)
    said = await send_command(socket, f"commit ssl cert {name}")
    if "Success" not in said:
        await send_command(socket, f"abort ssl cert {name}")
        raise CommandRefused(said)


async def read_servers(socket: Path) -> list[ServerRow]:
    """Every server of every backend. Raises Unreachable."""
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
        check = "draining"  # it answers that it wants nothing new
    return ServerRow(
        backend=line["pxname"],
        server=line["svname"],
        address=line["addr"],
        admin=admin,
        check=check,
        sessions=int(line["scur"] or 0),
        requests=int(line["stot"] or 0),
        said=said,
    )


@asynccontextmanager
async def _connected(
    socket: Path,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with contextlib.ExitStack() as stack:
        path = str(socket)
        if _LINUX:
            # The path of a socket has at most 107 bytes; that of a home may have more.
            folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            path = f"/proc/self/fd/{folder}/{socket.name}"
        reader, writer = await asyncio.open_unix_connection(path, limit=_LIMIT)
        stack.callback(writer.close)
        yield reader, writer
