"""The number of replicas stays as requested, and the primary stays the primary."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest

from florin.ops.fleet.observe import observe_fleet
from florin.ops.gameday import faults
from florin.ops.postgres.connection import open_session
from florin.ops.postgres.replica_set import member_names
from florin.ops.postgres.server import OWNER, SUPERUSER
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet, running


@pytest.mark.parametrize(
    ("replicas", "primary", "members"),
    [
        (0, "postgres-1", ("postgres-1",)),
        (2, "postgres-1", ("postgres-1", "postgres-2", "postgres-3")),
        (2, "postgres-2", ("postgres-1", "postgres-2", "postgres-3")),
        (1, "postgres-3", ("postgres-1", "postgres-3")),
        (0, "postgres-3", ("postgres-3",)),
    ],
)
def test_members_of_a_replica_set(replicas: int, primary: str, members: tuple[str, ...]) -> None:
    assert member_names(replicas, primary) == members


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("failover")) as made:
        yield made


def lags(fleet: Fleet) -> dict[str, Any]:
    """Return the status of each part."""
    parts = json.loads(fleet.florin("status", "--json").stdout)["parts"]
    return {part["name"]: part["lag"] for part in parts}


async def reads(fleet: Fleet) -> Counter[str]:
    """Return the reads that replicas answered (fresh), and those that fell back to the primary."""
    found = Counter(fresh=0, primary=0)
    async with httpx.AsyncClient(timeout=10) as http:
        for part in observe_fleet(fleet.home).of("api"):
            for line in (
                await http.get(f"http://{part.metrics_address}/metrics")
            ).text.splitlines():
                if line.startswith("florin_replica_reads_total{"):
                    found["fresh"] += int(float(line.split()[-1])) if 'why="fresh"' in line else 0
                    found["primary"] += int(float(line.split()[-1])) if '"primary"' in line else 0
    return found


@contextmanager
def stopped(pids: list[int]) -> Generator[None]:
    """Stop processes with SIGSTOP while the body runs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def there_again(fleet: Fleet, name: str, before: int) -> bool:
    """Return whether all parts serve, and this one with a new process."""
    part = observe_fleet(fleet.home).part(
        name
    )  # it may have been reported as dead between two checks
    return part is not None and part.pid not in {None, before} and fleet.whole()


def pid_of(fleet: Fleet, name: str) -> int:
    part = observe_fleet(fleet.home).part(name)
    assert part is not None
    assert part.pid is not None
    return part.pid


@pytest.mark.slow
async def test_the_number_of_replicas_is_kept(fleet: Fleet) -> None:
    """Down and up without --replicas: the same number, the same primary, all data."""
    said = await asyncio.to_thread(fleet.florin, "failover", "--to", "postgres-2")
    assert said.returncode == 0, said.stderr
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")
    async with fleet.http() as http:
        load = await fleet.load(http, 0.5)
    await asyncio.to_thread(fleet.again)
    assert fleet.primary().name == "postgres-2"
    await asyncio.to_thread(until, fleet.whole, "all three")
    async with fleet.http() as http:
        await fleet.judge(http, load)


async def test_the_status_shows_how_far_replicas_are_behind(fleet: Fleet) -> None:
    behind, other = (part for part in observe_fleet(fleet.home).of("postgres-replica"))

    def lagging() -> dict[str, Any] | None:
        seen = lags(fleet)
        # The other replica catches up eventually; this one does not.
        return seen if (seen[other.name]["bytes"] or 0) < 10_000 else None

    async with open_session(fleet.url(behind.name, SUPERUSER)) as connection:
        await connection.execute("select pg_wal_replay_pause()")
        try:
            async with fleet.http() as http:
                load = await fleet.load(http, 1, least=10)
            seen = await asyncio.to_thread(until, lagging, "the other replica to catch up")
            table = (await asyncio.to_thread(fleet.florin, "status")).stdout
        finally:
            await connection.execute("select pg_wal_replay_resume()")
    assert load.failed == []
    assert seen[behind.name]["bytes"] > 10_000
    assert seen[behind.name]["seconds"] >= 1
    assert seen[fleet.primary().name] is None
    assert seen["api-1"] is None
    assert "LAG" in table
    line = next(line for line in table.splitlines() if line.startswith(behind.name))
    assert re.search(r"\d+ [KM]B, \d+\.\d s", line)


async def test_paused_replicas_are_not_asked(fleet: Fleet) -> None:
    """Both lag: the primary answers, no read is stale, and the status shows the lag."""
    names_ = [part.name for part in observe_fleet(fleet.home).of("postgres-replica")]
    async with AsyncExitStack() as stack, fleet.http() as http:
        for name in names_:
            paused = await stack.enter_async_context(open_session(fleet.url(name, SUPERUSER)))
            await paused.execute("select pg_wal_replay_pause()")
            stack.push_async_callback(paused.execute, "select pg_wal_replay_resume()")
        before = await reads(fleet)
        load = await fleet.load(http, 1)
        after = await reads(fleet)
        seen = await asyncio.to_thread(lags, fleet)
    assert load.failed == []
    assert after["fresh"] == before["fresh"]
    assert after["primary"] >= before["primary"] + load.acknowledged.total()
    assert all(seen[name]["bytes"] > 0 for name in names_)


@pytest.mark.slow
async def test_a_replica_is_cut_off_frozen_and_killed(fleet: Fleet) -> None:
    """The other replica confirms the commits; only the status shows the loss."""
    name = observe_fleet(fleet.home).of("postgres-replica")[0].name
    pid, enough = pid_of(fleet, name), asyncio.Event()

    def behind() -> bool:
        return lags(fleet)[name]["bytes"] > 0

    async with fleet.http() as http, open_session(fleet.url(name, SUPERUSER)) as replica:
        loading = asyncio.ensure_future(fleet.load(http, 60, enough=enough))
        try:
            await replica.execute("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
            await replica.execute("select pg_reload_conf()")
            await asyncio.to_thread(until, behind, "the status to show that it is cut off")
            await replica.execute("alter system reset primary_conninfo")
            with stopped(faults.process_tree(pid)):
                frozen = (await asyncio.to_thread(lags, fleet))[name]
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(until, lambda: there_again(fleet, name, pid), "the replica")
        finally:
            enough.set()
            load = await loading
        await fleet.judge(http, load)
    assert frozen == {"bytes": None, "seconds": None}


async def test_a_replica_that_lost_its_database_is_copied_anew(fleet: Fleet) -> None:
    name = observe_fleet(fleet.home).of("postgres-replica")[0].name
    pid = pid_of(fleet, name)
    shutil.rmtree(fleet.data(name))
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(until, lambda: there_again(fleet, name, pid), "the replica")
    async with fleet.http() as http:
        await fleet.judge(http, await fleet.load(http, 0.5))
    async with open_session(fleet.url(name, OWNER)) as connection:
        assert await connection.fetchval("select pg_is_in_recovery()")
        assert await connection.fetchval("select count(*) from florin.transfer") > 0


@pytest.mark.slow
async def test_removing_replicas_keeps_the_primary(fleet: Fleet) -> None:
    before = fleet.primary().name
    assert before != "postgres-1"
    async with fleet.http() as http:
        load = await fleet.load(http, 0.5)
    await asyncio.to_thread(fleet.again, "--replicas", "0")
    parts = [part for part in observe_fleet(fleet.home).parts if part.name.startswith("postgres")]
    assert [part.name for part in parts if part.process] == [before]
    async with fleet.http() as http:
        await fleet.judge(http, load)
