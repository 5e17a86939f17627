"""Python client: generates the load where wrk is missing: raw sockets, one process per wrk thread.

It takes several times the CPU of wrk; the report names it.
"""

import asyncio
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random

import msgspec

from florin.bench.load.wrk import DriveConfig, GeneratorCounts

_ITEM = b'{"status":'
_PAUSE_S = 0.01  # before a connection that broke is opened again
_ITEM_MADE = b'{"status":201'


@dataclass(slots=True)
class ProcessTally:
    """The counts of one process, and the seconds of each answer."""

    status: int = 0
    socket: int = 0
    ok: int = 0
    refused: int = 0
    took: list[float] = field(default_factory=list[float])


class RawHttpClient:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body. Raises OSError or EOFError if it breaks."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=2**22)
        reader, writer = self._streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        except (OSError, EOFError, ValueError):
            self.close()
            raise
        return int(head[9:12]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def render_request(load: DriveConfig, key: str, choose: Random) -> bytes:
    """Return the bytes of one request with that key."""
    name = "Idempotency-Key" if load.kind == "redeem" else "X-Request-Id"
    if load.kind == "batch":
        items = ",".join(
            f'{{"idempotency_key":"{key}{n:04x}","amount":1,"currency":"EUR",'
            f'"code":"{choose.choice(load.codes)}"}}'
            for n in range(load.batch)
        )
        body = f'{{"redemptions":[{items}]}}'
    elif load.kind == "lookup":
        body = f'{{"code":"{choose.choice(load.codes)}"}}'
    else:
        body = f'{{"amount":1,"currency":"EUR","code":"{choose.choice(load.codes)}"}}'
    return (
        f"POST {load.path} HTTP/1.1\r\nHost: florin\r\n{name}: {key}\r\n"
        f"Authorization: {load.authorization}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def _connection(load: DriveConfig, number: int, until: float, tally: ProcessTally) -> None:
    client = RawHttpClient(load.host, load.ports[number % len(load.ports)])
    choose = random.Random(f"{load.seed}-{load.tag}-{number}")
    counter = 0
    try:
        while (begun := time.monotonic()) < until:
            counter += 1
            key = f"{choose.getrandbits(64):016x}{load.tag:04x}{number:04x}{counter:08x}"
            try:
                status, body = await client.send(render_request(load, key, choose))
            except (OSError, EOFError, ValueError):
                tally.socket += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            tally.took.append(time.monotonic() - begun)
            tally.status += not 200 <= status < 300
            if load.kind == "batch":
                made = body.count(_ITEM_MADE)
                tally.ok += made
                tally.refused += body.count(_ITEM) - made
    finally:
        client.close()


async def _drive(load: DriveConfig, process: int) -> ProcessTally:
    tally = ProcessTally()
    until = time.monotonic() + load.seconds
    mine = range(process, load.connections, load.threads)
    await asyncio.gather(*(_connection(load, number, until, tally) for number in mine))
    return tally


def _share(load: DriveConfig, process: int) -> ProcessTally:
    return asyncio.run(_drive(load, process))


def run_python_load(load: DriveConfig) -> GeneratorCounts:
    """Run the load in several processes and add up their counts."""
    context = get_context("spawn")
    with ProcessPoolExecutor(load.threads, mp_context=context) as processes:
        shares = [processes.submit(_share, load, number) for number in range(load.threads)]
        tallies = [share.result() for share in shares]
    took = sorted(second for tally in tallies for second in tally.took)
    return GeneratorCounts(
        answers=len(took),
        seconds=load.seconds,
        status=sum(tally.status for tally in tallies),
        socket=sum(tally.socket for tally in tallies),
        ok=sum(tally.ok for tally in tallies),
        refused=sum(tally.refused for tally in tallies),
        p50_ms=_percentile(took, 0.50),
        p99_ms=_percentile(took, 0.99),
    )


def _percentile(sorted_seconds: list[float], share: float) -> float:
    if not sorted_seconds:
        return 0.0
    return sorted_seconds[min(len(sorted_seconds) - 1, int(share * len(sorted_seconds)))] * 1000


if __name__ == "__main__":
    asked = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=DriveConfig)
    print(f"FLORIN {msgspec.json.encode(run_python_load(asked)).decode()}")
