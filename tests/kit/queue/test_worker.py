"""Worker: it is killed, stopped or suspended: every job is done, and none twice."""

import asyncio
import os
import signal
from typing import Any

import pytest

from tests.kit.queue.toys import LEASE_S, fill, fill_misled, word
from tests.support.waiting import until
from tests.support.workers import Crew

HERE = 10_000


async def left(owner: Any) -> int:
    """How many jobs there are, without scheduled ones: a minute may begin at any moment."""
    return await owner.fetchval("select count(*) from florin.queue_job where kind <> 'tick'")


async def noted(owner: Any, what: str) -> list[Any]:
    return await owner.fetch("select * from florin.toy where word like $1 order by id", what)


@pytest.mark.slow
async def test_every_job_runs_once(play: Crew, owner: Any) -> None:
    before = await _totals(owner)
    for start in range(0, HERE, 1000):
        await fill(owner, *(word(n) for n in range(start, start + 1000)))
    workers = [play.start("5") for _ in range(2)]
    await until(lambda: empty(owner), within_s=180)
    row = await owner.fetchrow(
        "select count(*), count(distinct word) from florin.toy where word ~ '^[0-9]+$'"
    )
    assert tuple(row) == (HERE, HERE)
    facts = await until(lambda: _completed(owner, before["completed"] + HERE))
    assert facts["arrived"] == before["arrived"] + HERE
    assert facts["failed"] == before["failed"]
    assert [play.stop(worker) for worker in workers] == [0, 0]
    assert await owner.fetchval("select count(*) from florin.queue_worker") == 0


async def test_jobs_without_an_effect_are_completed_in_bulk(play: Crew, owner: Any) -> None:
    before = await _totals(owner)
    await fill_misled(owner, *(word(n, "nothing") for n in range(HERE)))
    play.start("5")
    play.start("5")
    await until(lambda: empty(owner), within_s=180)
    # Each is done when its worker reports it: none is forgotten, and none is done by two.
    facts = await until(lambda: _completed(owner, before["completed"] + HERE))
    assert facts["completed"] == before["completed"] + HERE
    assert facts["failed"] == before["failed"]


async def test_the_job_of_a_killed_worker_has_one_effect(play: Crew, owner: Any) -> None:
    await fill(owner, word("long", "slow", seconds=3))
    first = play.start("5")
    await until(lambda: noted(owner, "long:begun"))
    play.start("5")
    play.kill(first)
    await until(lambda: empty(owner))
    (row,) = await noted(owner, "long")
    assert row["attempt"] == 2
    times = [row["at"] for row in await noted(owner, "long:begun")]
    # The lease and a start; without leases no worker would claim it.
    assert (times[1] - times[0]).total_seconds() < LEASE_S * 30


async def test_a_worker_killed_during_an_effect_leaves_one_effect(play: Crew, owner: Any) -> None:
    await fill(owner, word("cut", "slow", seconds=0, within=600))
    first = play.start("1")
    await until(lambda: noted(owner, "cut:begun"))
    await until(lambda: _writes(owner))  # its writes are not visible yet
    play.kill(first)
    assert not await noted(owner, "cut")
    play.start("1")
    await until(lambda: empty(owner))
    assert len(await noted(owner, "cut")) == 1


@pytest.mark.slow
async def test_a_resumed_worker_without_its_lease_changes_nothing(play: Crew, owner: Any) -> None:
    await fill(owner, word("zombie", "stopped"))
    zombie = play.start("1")
    await until(lambda: noted(owner, "zombie:begun"))
    heir = play.start("1")
    taken = await until(lambda: begun(owner, "zombie:begun", 2))
    os.kill(zombie.pid, signal.SIGCONT)
    await asyncio.sleep(1)
    here = await owner.fetchrow(
        "select (select count(*) from florin.queue_job) as jobs, (select count(*) from florin.toy"
        " where word = 'zombie' and pid = $1) as by_zombie, (select count(*) from florin.toy"
        " where word = 'zombie') as effects",
        zombie.pid,
    )
    assert here["by_zombie"] == 0, "the zombie had its effect without a lease"
    assert here["jobs"] == 1 - here["effects"], "the zombie ended the heir's job"
    await until(lambda: empty(owner))
    (row,) = await noted(owner, "zombie")
    assert row["pid"] == taken[1]["pid"]
    assert play.stop(heir) == 0


async def test_a_stopped_worker_finishes_running_jobs_and_returns_others(
    play: Crew, owner: Any
) -> None:
    await fill(owner, *(word(n, "slow", seconds=LEASE_S * 2.5) for n in range(4)))
    first = play.start("2")
    await until(lambda: begun(owner, "0:begun", 1))
    await until(lambda: begun(owner, "1:begun", 1))
    second = play.start("2")
    # Its heartbeats go on: the second worker, which looks for lost leases, claims the other two.
    assert play.stop(first) == 0
    assert play.stop(second) == 0
    rows = await owner.fetch("select word, attempt from florin.toy where word ~ '^[0-9]$'")
    assert sorted(row["word"] for row in rows) == ["0", "1", "2", "3"][: len(rows)]
    assert {row["attempt"] for row in rows} == {1}
    assert await left(owner) == 4 - len(rows)


async def test_a_job_that_cannot_finish_is_returned(play: Crew, owner: Any) -> None:
    """A second signal does not lose it either; the attempt does not count."""
    await fill(owner, word("long", "slow", seconds=25))
    worker = play.start("1", TOYS_FINISH_S="1")
    await until(lambda: noted(owner, "long:begun"))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(play.stop, worker) == 0
    row = await owner.fetchrow("select * from florin.queue_job")
    assert (row["state"], row["attempts"], row["crashes"], row["error"]) == (0, 0, 0, None)
    assert not await noted(owner, "long")


async def test_slots_of_its_own_make_a_queue_hold_no_one_up(play: Crew, owner: Any) -> None:
    """Neither does another queue that has all shared slots hold it up."""
    await fill(owner, *(word(f"own {n}", "slow own", "own", seconds=600) for n in range(4)))
    play.start("1", TOYS_FINISH_S="1")
    await until(lambda: begun(owner, "own 2:begun", 1))
    await fill(owner, word("shared"))
    await until(lambda: noted(owner, "shared"))
    assert not await noted(owner, "own 3%")  # it has three slots
    await owner.execute("delete from florin.queue_job where queue = 'own'")
    await fill(owner, word("long", "slow", seconds=600))
    await until(lambda: noted(owner, "long:begun"))
    await fill(owner, word("own", "slow own", "own", seconds=0))
    await until(lambda: noted(owner, "own"))
    await until(
        lambda: owner.fetchval("select busy = 1 and concurrency = 4 from florin.queue_worker")
    )


@pytest.mark.slow
async def test_a_long_job_resumes_at_its_progress(play: Crew, owner: Any) -> None:
    await fill(owner, word("long", "steps"))
    for steps in (2, 5, 8):
        worker = play.start("1")
        await until(lambda: begun(owner, "long", steps))  # noqa: B023 -- awaited at once
        play.kill(worker)
    play.start("1")
    await until(lambda: empty(owner))
    assert len(await noted(owner, "long")) == 10


async def test_two_holders_of_a_job_have_one_effect(play: Crew, owner: Any) -> None:
    """Two holders of the same row, one with a valid lease: one effect."""
    await fill(owner, word("once"))
    taken = await owner.fetchrow(_CLAIM, ["effect"], [2])
    await owner.execute("update florin.queue_job set lease_until = now() - interval '1 s'")
    play.start("1")
    await until(lambda: empty(owner))
    assert not await owner.fetchval(
        "select queue_hold($1, $2, interval '1 s')", taken["id"], taken["fence"]
    )
    assert len(await noted(owner, "once")) == 1


_CLAIM = """
select * from queue_claim(gen_random_uuid(), array['toys'], array[1], 1, $1, $2,
  interval '60 s')
"""


async def empty(owner: Any) -> bool:
    return await left(owner) == 0


async def begun(owner: Any, what: str, number: int) -> list[Any] | None:
    rows = await noted(owner, what)
    return rows if len(rows) >= number else None


async def _writes(owner: Any) -> bool:
    return await owner.fetchval(
        "select count(*) > 0 from pg_locks where granted and mode = 'RowExclusiveLock'"
        " and relation = 'florin.toy'::regclass"
    )


async def _completed(owner: Any, number: int) -> Any:
    totals = await _totals(owner)
    return totals if totals["completed"] >= number else None


async def _totals(owner: Any) -> Any:
    return await owner.fetchrow(
        "select coalesce(sum(arrived), 0) as arrived, coalesce(sum(completed), 0) as completed,"
        " coalesce(sum(failed), 0) as failed from florin.queue_flow where queue = 'toys'"
    )
