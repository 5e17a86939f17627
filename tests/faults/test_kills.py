"""kill -9 in the middle of a load over HTTP: the tills' log equals the books to the cent.

`bin/test tests/faults --rounds 50` kills each part fifty times; a seed draws the same requests.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack

import httpx
import pytest

from florin.kit.db import Database, connect
from tests import engine
from tests.faults import accounts
from tests.faults.shop import DATABASE, Fleet, processes_of
from tests.faults.tills import Log, Till
from tests.instance import Instance, instance, make_shop

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
    """A durable server, for it is killed, with two instances on it."""
    with ExitStack() as stack:
        postgres = engine.program()
        server = stack.enter_context(engine.server(postgres, durable=True))
        await engine.make_template(server)
        await engine.make_database(server, DATABASE)
        url = f"{server.url('florin_app', DATABASE)}?connection_limit=6&pool_timeout=20"
        instances: list[Instance] = [stack.enter_context(instance(url)) for _ in range(2)]
        running = Fleet(server, postgres, instances)
        try:
            yield running
        finally:
            engine.stop(running.process)


@pytest.fixture
async def clients(fleet: Fleet) -> AsyncIterator[tuple[list[httpx.AsyncClient], str]]:
    """A merchant of the test's own: a client at each instance, and its program."""
    url = fleet.url("florin_owner")
    owner, database = await connect(url, name="tests"), Database(fleet.url("florin_app"))
    try:
        await database.open()
        shop = await make_shop(owner, database)
    finally:
        await owner.close()
        await database.close()
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"{one.base}/api/v1", headers=shop.headers, timeout=60)
            )
            for one in fleet.instances
        ]
        yield made, shop.program


async def kill_again_and_again(fleet: Fleet, fault: str, log: Log, rounds: int) -> None:
    for _ in range(rounds):
        until = log.answered + _BETWEEN
        while log.answered < until:  # noqa: ASYNC110 -- twelve tills count, nobody signals
            await asyncio.sleep(0.01)
        before, interrupted = processes_of(fleet), log.interrupted
        await asyncio.to_thread(fleet.faults[fault])
        assert (processes_of(fleet) != before) == (fault != "a connection's process")
        # Tills notice a killed instance. A killed server they need not: the instances ask again.
        assert log.interrupted > interrupted or fault not in NOTICED


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
