"""HTTP probe: GET requests to the parts of the fleet, without a client library."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LIMIT = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    status: int
    body: bytes

    def json(self) -> Any:
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None


async def probe(
    address: str, path: str, *, headers: Mapping[str, str] | None = None, within_s: float = 2
) -> ProbeAnswer | None:
    """GET a path of `host:port`; None when there is no answer in time."""
    try:
        async with asyncio.timeout(within_s):
            return await _get(address, path, headers or {})
    except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError):
        return None


async def is_listening(address: str, *, within_s: float = 2) -> bool:
    """Return whether a process listens at `host:port`."""
    host, port = split_address(address)
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return True


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def _get(address: str, path: str, headers: Mapping[str, str]) -> ProbeAnswer:
    host, port = split_address(address)
    reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT)
    with contextlib.closing(writer):
        lines = [f"GET {path} HTTP/1.1", f"Host: {address}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = int((await reader.readline()).split()[1])
        length: int | None = None
        chunked = False
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
            chunked = chunked or (name.lower(), value.strip()) == ("transfer-encoding", "chunked")
        if chunked:
            body = await _read_chunks(reader)
        else:
            body = await reader.read(-1) if length is None else await reader.readexactly(length)
    return ProbeAnswer(status, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a body in chunks (RFC 9112, 7.1), such as HAProxy's metrics."""
    chunks: list[bytes] = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    return b"".join(chunks)
