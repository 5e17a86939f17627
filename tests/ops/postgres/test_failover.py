"""The primary is killed, frozen and switched under load: requests wait, and none fails."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from florin.bench.scenarios import failover
from florin.ops.fleet.observe import observe_fleet
from florin.ops.postgres.failover import MemberState, elect_primary
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet, running

BOTH = frozenset({"b", "c"})
TERMS = failover.FailoverBenchConfig(
    2, connections=6, rate=60, rounds=1, seed=1, control=True, kinds=("cut off",)
)


def standby(received: int) -> MemberState:
    return MemberState(standby=True, received=received)


@pytest.mark.parametrize(
    ("seen", "others", "more", "chosen"),
    [
        ({"b": standby(5), "c": standby(7)}, BOTH, {}, "c"),
        ({"b": standby(7), "c": standby(7)}, BOTH, {"requested": "c"}, "c"),
        ({"b": standby(7), "c": standby(5)}, BOTH, {"requested": "c"}, "b"),
        ({"c": standby(7)}, BOTH, {}, None),  # b may have entries that c lacks
        ({"c": standby(7)}, BOTH, {"accept_loss": True}, "c"),
        ({"b": standby(9), "c": standby(7)}, BOTH, {"accept_loss": True, "requested": "c"}, "c"),
        ({"b": standby(7)}, frozenset({"b"}), {}, None),  # one replica: no commit waited for it
        (
            {"b": standby(7)},
            frozenset({"b"}),
            {"least": 7},
            "b",
        ),  # the old primary was stopped in order
        ({"b": standby(6)}, frozenset({"b"}), {"least": 7}, None),
        ({"b": standby(8), "c": standby(9)}, BOTH, {"least": 7, "requested": "b"}, "b"),
        ({"b": MemberState(standby=False, received=9), "c": standby(7)}, BOTH, {}, None),
        ({}, BOTH, {"accept_loss": True}, None),
    ],
)
def test_the_replica_that_takes_over(
    seen: dict[str, MemberState], others: frozenset[str], more: dict[str, Any], chosen: str | None
) -> None:
    assert elect_primary(seen, others, **more) == chosen


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("failover")) as made:
        yield made


@pytest.mark.slow
async def test_the_primary_is_killed(fleet: Fleet) -> None:
    """Log that the primary had not archived is archived by a replica."""
    assert (await asyncio.to_thread(fleet.florin, "backup")).returncode == 0
    archiver = archiver_of(fleet.primary().pid)
    async with fleet.http() as http:
        loading = asyncio.ensure_future(fleet.load(http, 5))
        os.kill(archiver, signal.SIGSTOP)
        try:
            async with fleet.segments_ending():
                await asyncio.sleep(1.5)
        finally:
            before = fleet.signal(signal.SIGKILL)
            os.kill(archiver, signal.SIGKILL)
        load = await loading
        assert fleet.primary().name != before
        await fleet.judge(http, load)
        print(f"killed: slowest {load.slowest_s:.2f} s of {load.acknowledged.total()}")
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")
    async with fleet.segments_ending():
        verified = await asyncio.to_thread(fleet.florin, "backup", "--verify")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.long_form("fleets")
async def test_the_primary_is_frozen(fleet: Fleet) -> None:
    """It is stopped before another one takes over: it cannot acknowledge writes when it resumes."""
    async with fleet.http() as http:
        loading = asyncio.ensure_future(fleet.load(http, 6))
        await asyncio.sleep(1)
        before = fleet.signal(signal.SIGSTOP)
        load = await loading
        assert fleet.primary().name != before
        await fleet.judge(http, load)
        print(f"frozen: slowest {load.slowest_s:.2f} s of {load.acknowledged.total()}")
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")


async def test_the_primary_is_switched_on_purpose(fleet: Fleet) -> None:
    async with fleet.http() as http:
        wanted = observe_fleet(fleet.home).of("postgres-replica")[-1].name
        loading = asyncio.ensure_future(fleet.load(http, 4))
        await asyncio.sleep(1)
        said = await asyncio.to_thread(fleet.florin, "failover", "--to", wanted, "--json")
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout)["primary"] == wanted
        load = await loading
        assert fleet.primary().name == wanted
        await fleet.judge(http, load)
    refused = await asyncio.to_thread(fleet.florin, "failover", "--to", wanted)
    assert refused.returncode != 0
    assert "is not a PostgreSQL replica" in refused.stderr
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")


@pytest.mark.slow
async def test_a_primary_cut_off_from_its_replicas_acknowledges_nothing(fleet: Fleet) -> None:
    """The primary is cut off from its replicas for a moment, then killed, as in the benchmark."""
    found = await failover.run_phase(fleet.bench(), TERMS, ["cut off"])
    assert found.right, found
    assert found.kept.acknowledged > 0
    assert found.losses[0].again_s < inf


@pytest.mark.long_form("fleets")
async def test_a_primary_that_died_without_a_supervisor_is_replaced(fleet: Fleet) -> None:
    supervisor = next(iter(observe_fleet(fleet.home).of("supervisor")))
    assert supervisor.pid is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    before = fleet.signal(signal.SIGKILL)
    await asyncio.to_thread(fleet.up)
    assert fleet.primary().name != before
    async with fleet.http() as http:
        await fleet.judge(http, await fleet.load(http, 1))
    await asyncio.to_thread(until, fleet.whole, "all three")


@pytest.mark.long_form("fleets")
async def test_a_stopped_fleet_starts_with_its_last_primary(fleet: Fleet) -> None:
    before = fleet.primary().name
    assert (await asyncio.to_thread(fleet.florin, "down")).returncode == 0
    await asyncio.to_thread(fleet.up)
    assert fleet.primary().name == before
    async with fleet.http() as http:
        await fleet.judge(http, await fleet.load(http, 1))


@pytest.mark.long_form("fleets")
async def test_a_primary_without_its_database_does_not_create_a_new_one(fleet: Fleet) -> None:
    """A new, empty primary would be copied over the replicas' data."""
    async with fleet.http() as http:
        load = await fleet.load(http, 0.5)
        before = fleet.primary().name
        fleet.data(before).rename(fleet.data(before).with_name("gone"))
        fleet.signal(signal.SIGKILL)
        await asyncio.to_thread(until, lambda: fleet.whole() and fleet.primary().name != before, "")
        await fleet.judge(http, load)
        assert (fleet.data(before) / "standby.signal").exists()


@pytest.mark.long_form("fleets")
async def test_the_control_loses_writes_that_no_replica_confirmed(fleet: Fleet) -> None:
    """This is the last test: from here on commits wait for no replica."""
    await failover.disable_synchronous_commit(fleet.bench())
    found = await failover.run_phase(fleet.bench(), TERMS, ["cut off"])
    assert found.kept.lost > 0
    assert found.differences != []
    assert found.alarms > 0


def archiver_of(postmaster: int) -> int:
    for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text("ascii").split():
        if b"archiver" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    pytest.fail("the server has no archiver")
