"""Loaded fleet: a fleet of real processes, and a client that sends requests while it changes.

The client repeats nothing and records every response; afterwards the ledger must match them.
"""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import ConstantRateLoad, LoggedRequest
from florin.bench.scenarios.fleet import BenchFleet, own_fleet
from florin.ops.fleet.observe import observe_fleet
from florin.ops.system import processes
from florin.ops.system.console import OperatorError

_AFTERWARDS = 40  # requests after the body: a late failure belongs to it
_LEAST = 60


@asynccontextmanager
async def running_fleet(*, instances: int) -> AsyncGenerator[BenchFleet]:
    """Start a fleet in a home of its own; afterwards none of its processes is left."""
    with tempfile.TemporaryDirectory(prefix="florin-test-") as folder:
        made = own_fleet(Path(folder), instances=instances)
        try:
            await made.up()
            yield made
        finally:
            with contextlib.suppress(OperatorError):
                await made.florin("down")
            for part in observe_fleet(made.home).parts:
                if part.process is not None:
                    processes.send_signal(part.process, signal.SIGKILL)


@asynccontextmanager
async def load(
    fleet: BenchFleet, *, rate: float = 80, connections: int = 6
) -> AsyncGenerator[list[LoggedRequest]]:
    """Send requests while the body runs; afterwards the list has them, and the ledger agrees."""
    running = ConstantRateLoad(await fleet.sell_cards(cards=5), rate=rate, connections=connections)
    log: list[LoggedRequest] = []
    async with running.running():
        yield log
        begun = len(running.log)
        async with asyncio.timeout(60):
            while len(running.log) < max(begun + _AFTERWARDS, _LEAST):  # noqa: ASYNC110 -- it counts for itself
                await asyncio.sleep(0.1)
    log += running.cut()
    assert await constant_rate.ledger_differences(running) == []


def failed(log: list[LoggedRequest]) -> list[LoggedRequest]:
    return [asked for asked in log if asked.failed]
