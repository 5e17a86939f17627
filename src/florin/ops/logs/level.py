"""Level: changes the log level of a running process through its operations port."""

import asyncio
import contextlib

import msgspec

from florin.kit.observability.logging import LogLevel
from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import observe_fleet
from florin.ops.system.console import OperatorError
from florin.ops.system.http_probe import split_address

_ROLES = ("api", "worker")
_WITHIN_S = 5
_OK = 200


async def change_level(home: Home, name: str, level: LogLevel) -> str:
    """Change the level and return the previous one. Raises OperatorError."""
    fleet = observe_fleet(home)
    part = fleet.part(name)
    able = [each.name for each in fleet.parts if each.role in _ROLES and each.process]
    if part is None or part.operations is None or part.name not in able:
        known = f"choose one of: {', '.join(able)}" if able else "start it with florin up"
        raise OperatorError(f"No running process {name} has a log level to change; {known}.")
    try:
        async with asyncio.timeout(_WITHIN_S):
            status, body = await _put(part.operations, msgspec.json.encode({"level": level}))
    except (OSError, TimeoutError, ValueError, IndexError, EOFError):
        raise OperatorError(
            f"{name} does not answer at its operations port {part.operations}; see florin status."
        ) from None
    if status != _OK:
        raise OperatorError(
            f"{name} runs a release that cannot change its log level; deploy this one first."
        )
    return msgspec.json.decode(body)["before"]


async def _put(address: str, body: bytes) -> tuple[int, bytes]:
    host, port = split_address(address)
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer):
        head = [
            "PUT /log-level HTTP/1.1",
            f"Host: {address}",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        status = int((await reader.readline()).split()[1])
        _, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    return status, answer
