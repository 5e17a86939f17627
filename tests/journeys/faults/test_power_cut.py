"""The power fails in the middle of a load: what was acknowledged is there, as the tills' log says.

A kill does not show this: what a killed server wrote is still in the kernel's memory. Here all that
is lost, too; and without `fsync` money is, else this test could not fail.
`bin/test tests/journeys/faults/test_power_cut.py --rounds 50` cuts it fifty times.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from florin.kit.postgres.database import open_connection
from tests.journeys.faults import accounts, disks
from tests.journeys.faults.clients import opened
from tests.journeys.faults.shop import Fleet, running
from tests.journeys.faults.tills import Log, working_tills
from tests.support import postgres_server

_TILLS = 8
_BETWEEN = 100  # answers between two cuts
_LOST = 200  # answers that a server without fsync gives before the cut
_CUTS = 5


@dataclass(slots=True)
class Shop:
    """A fleet with its database on a disk whose power can be cut."""

    fleet: Fleet
    disk: disks.Powered

    def cut(self) -> None:
        """Lose the server and everything not on its disk, then start it again."""
        self.fleet.freeze_database()
        self.disk.cut()
        self.fleet.kill_database()
        self.disk.restore_power()
        self.fleet.start_database()


@pytest.fixture(scope="module")
async def shop() -> AsyncGenerator[Shop]:
    with ExitStack() as stack:
        disk = stack.enter_context(disks.powered(512))
        server = stack.enter_context(
            postgres_server.server(
                postgres_server.program(),
                durable=True,
                disk=disk.path,
                more=("max_wal_size=64MB", "min_wal_size=32MB", "shared_buffers=32MB"),
            )
        )
        async with running(server, postgres_server.program()) as fleet:
            disk.keep()  # the settings, which were written by these tests and not by the server
            yield Shop(fleet, disk)


async def answered(log: Log, more: int) -> None:
    until = log.answered + more
    while log.answered < until:  # noqa: ASYNC110 -- the tills only count
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_power_cut(
    shop: Shop, pytestconfig: pytest.Config
) -> None:
    seed = int(pytestconfig.getoption("--seed") or secrets.randbelow(10**6))
    rounds = int(pytestconfig.getoption("--rounds") or 0)
    async with opened(shop.fleet) as (https, program):
        async with working_tills(https, program, count=_TILLS, seed=seed) as log:
            for _ in range(rounds):
                await answered(log, _BETWEEN)
                await asyncio.to_thread(shop.cut)
            await answered(log, _BETWEEN)
        print(log.summary())
        await accounts.compare(https[0], log)
        await accounts.repeat(https[1], [call for call in log.calls if call.happened][-_BETWEEN:])


async def test_without_fsync_it_does_not(shop: Shop) -> None:
    """The control: the same power cut with a server that does not flush (fsync off).

    One cut may lose nothing: on a slow machine the kernel may have written all of it by itself.
    """
    for _ in range(_CUTS):
        if await loses_transfers(shop):
            return
    raise AssertionError("no cut lost anything: the disk of these tests keeps what is not flushed")


async def loses_transfers(shop: Shop) -> bool:
    """Whether a power cut without fsync loses what was acknowledged."""
    fleet = shop.fleet
    postgres_server.stop(fleet.process)
    shop.disk.keep()
    fleet.start_database("fsync=off")
    async with (
        opened(fleet) as (https, program),
        working_tills(https, program, count=_TILLS, seed=0) as log,
    ):
        await answered(log, _LOST)
    before = await transfers(fleet)
    try:
        await asyncio.to_thread(shop.cut)
    except AssertionError:
        return True  # what is left is not even a database
    return await transfers(fleet) < before


async def transfers(fleet: Fleet) -> int:
    connection = await open_connection(fleet.url("florin_owner"), name="tests")
    try:
        return await connection.fetchval("select count(*) from florin.transfer")
    finally:
        await connection.close()
