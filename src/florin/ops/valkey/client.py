"""Client: one command to a Valkey server or a Sentinel, without a client library."""

import asyncio
import contextlib
from typing import Any

from florin.ops.fleet.model import Role
from florin.ops.system import http_probe
from florin.ops.valkey.users import OPERATOR

WITHIN_S = 2.0


class ValkeySilent(Exception):
    """The server did not answer in time."""


class ValkeyRefused(Exception):
    """The server answered with an error."""


GONE = (ValkeySilent, ValkeyRefused)
_ROLES: dict[str, Role] = {
    "master": "valkey-primary",
    "slave": "valkey-replica",
    "sentinel": "sentinel",
}


async def send_command(
    address: str, password: str, *words: str | int, within_s: float = WITHIN_S
) -> Any:
    """Return the answer to one command: text, a number, a list of them or None.

    `password` is the operator's.
    """
    host, port = http_probe.split_address(address)
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(_command("AUTH", OPERATOR, password) + _command(*words))
                await _read(reader)
                return await _read(reader)
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        raise ValkeySilent(f"{address}: {error or 'no answer'}") from None


async def read_role(address: str, password: str) -> Role | None:
    """Return the role that a server reports; None when it does not answer."""
    with contextlib.suppress(*GONE):
        return _ROLES.get((await send_command(address, password, "ROLE"))[0])
    return None


async def is_answering(address: str, password: str) -> bool:
    """Return whether a server accepts commands; it does not while it loads its data."""
    with contextlib.suppress(*GONE):
        return await send_command(address, password, "PING") == "PONG"
    return False


def _command(*words: str | int) -> bytes:
    encoded = [str(word).encode() for word in words]
    lines = [b"*%d" % len(encoded)]
    for word in encoded:
        lines += [b"$%d" % len(word), word]
    return b"\r\n".join([*lines, b""])


async def _read(reader: asyncio.StreamReader) -> Any:
    line = await reader.readuntil(b"\r\n")
    kind, said = line[:1], line[1:-2].decode()
    match kind:
        case b"+":
            return said
        case b"-":
            raise ValkeyRefused(said)
        case b":":
            return int(said)
        case b"$" if int(said) < 0:
            return None
        case b"$":
            return (await reader.readexactly(int(said) + 2))[:-2].decode(errors="replace")
        case b"*":
            return [await _read(reader) for _ in range(int(said))]
        case _:
            raise ValueError(f"unknown answer {line!r}")
