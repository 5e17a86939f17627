"""kill -9 during a load over HTTP: the log of the tills equals the ledger to the cent.

`bin/test tests/journeys/faults --rounds 50` kills each part fifty times; a seed draws the same
requests.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest

from tests.journeys.faults import accounts
from tests.journeys.faults.clients import opened
from tests.journeys.faults.shop import Fleet, processes_of, running
from tests.journeys.faults.tills import Log, Till
from tests.support import postgres_server

FAULTS = (
    "an instance",
    "every instance",
    "a connection's process",
    "the postmaster",
    "all of PostgreSQL",
    "everything",
)
NOTICED = ("an instance", "every instance", "everything")
_TILLS = 12
_BETWEEN = 100  # answers between two kills: the load has got going again
_REPEATED = 150


@pytest.fixture(scope="module")
async def fleet() -> AsyncGenerator[Fleet]:
    """A durable server (it is killed) with two instances."""
    postgres = postgres_server.program()
    with postgres_server.server(postgres, durable=True) as server:
        async with running(server, postgres) as made:
            yield made


@pytest.fixture
async def clients(fleet: Fleet) -> AsyncIterator[tuple[list[httpx.AsyncClient], str]]:
    """A new merchant: a client per instance, and its program."""
    async with opened(fleet) as made:
        yield made


async def kill_again_and_again(fleet: Fleet, fault: str, log: Log, rounds: int) -> None:
    for _ in range(rounds):
        until = log.answered + _BETWEEN
        while log.answered < until:  # noqa: ASYNC110 -- the tills only count
            await asyncio.sleep(0.01)
        before, interrupted = processes_of(fleet), log.interrupted
        await asyncio.to_thread(fleet.faults[fault])
        assert (processes_of(fleet) != before) == (fault != "a connection's process")
        # Tills notice a killed instance. A killed server they need not: the instances ask again.
        assert log.interrupted > interrupted or fault not in NOTICED


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_tills_log_equals_the_books(
    fleet: Fleet,
    clients: tuple[list[httpx.AsyncClient], str],
    fault: str,
    pytestconfig: pytest.Config,
) -> None:
    seed = int(pytestconfig.getoption("--seed") or 1)
    rounds = int(pytestconfig.getoption("--rounds") or 0)
    print(f"seed {seed}")
    https, program = clients
    log, stop = Log(), asyncio.Event()
    tills = [Till(https, program, log, seed=seed + n) for n in range(_TILLS)]
    await asyncio.gather(*(till.sell() for till in tills))
    working = [asyncio.ensure_future(till.work(stop)) for till in tills]
    killing = asyncio.ensure_future(kill_again_and_again(fleet, fault, log, rounds))
    try:
        await asyncio.wait([killing, *working], return_when=asyncio.FIRST_COMPLETED)
        if not killing.done():
            for till in working:
                if till.done():
                    till.result()  # why it gave up
        await killing
        stop.set()
        await asyncio.gather(*working)
    finally:
        for task in (killing, *working):
            task.cancel()
        await asyncio.gather(killing, *working, return_exceptions=True)
    print(log.summary())
    await accounts.compare(https[0], log)
    happened = [call for call in log.calls if call.happened]
    again = random.Random(seed).sample(happened, min(_REPEATED, len(happened)))
    await accounts.repeat(https[1], again)
    await accounts.compare(https[1], log)
