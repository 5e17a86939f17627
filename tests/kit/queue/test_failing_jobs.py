"""Failing jobs: however a job fails, other jobs run, and it ends as a dead letter."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from florin.kit.queue.worker import FINISH_WITHIN_S
from tests.kit.queue.test_worker import begun, empty, left, noted
from tests.kit.queue.toys import fill, word
from tests.support.waiting import until
from tests.support.workers import Crew

HARMLESS = 50


async def dead(owner: Any) -> Any:
    return await owner.fetchrow("select * from florin.queue_job where state = 2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise", "ValueError: no � good"),
        ("cancel", "CancelledError"),
        ("exit", "SystemExit: 3"),
        ("hang", "TimeoutError: it exceeded the time limit of its queue"),
        ("eat", "MemoryError"),
    ],
)
async def test_a_job_that_fails_is_tried_three_times_and_kept(
    play: Crew, owner: Any, how: str, says: str
) -> None:
    worker = play.start("2", FLORIN_WORKER_MEMORY_MB="512")
    await fill(owner, word("bad", "poison", "poison", how=how))
    await fill(owner, *(word(n) for n in range(HARMLESS)))
    row = await until(lambda: dead(owner))
    assert row["error"].startswith(says)
    assert (row["attempts"], row["crashes"]) == (3, 0)
    tries = [each["at"] for each in await noted(owner, "bad:begun")]
    assert len(tries) == 3
    first, second = (b - a for a, b in itertools.pairwise(tries))
    assert first.total_seconds() >= 0.2
    assert second.total_seconds() >= 0.4  # the delay is doubled
    await until(lambda: _all_harmless(owner))
    assert play.stop(worker) == 0, "its worker was harmed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("die", "signal 9"),
        pytest.param("block", "time limit", marks=pytest.mark.long_form("fleets")),
    ],
)
async def test_a_job_that_kills_its_worker_is_isolated(
    play: Crew, owner: Any, how: str, says: str
) -> None:
    """It runs twice in its worker's process, and after that in a process of its own."""
    first = play.start("3")
    await fill(owner, word("bad", "poison", "poison", how=how))
    await fill(owner, *(word(n, "slow", seconds=0.5) for n in range(HARMLESS // 10)))
    await until(lambda: noted(owner, "bad:begun"))
    play.start("3")
    await until(lambda: begun(owner, "bad:begun", 2))
    third = play.start("3")
    row = await until(lambda: dead(owner), within_s=120)
    assert says in row["error"]
    assert row["attempts"] == 3
    assert len({each["pid"] for each in await noted(owner, "bad:begun")}) == 3
    await until(lambda: _only_dead(owner))
    done = await owner.fetchval(_HARMLESS)
    assert done == HARMLESS // 10, "a neighbour was harmed"
    assert play.stop(third) == 0
    if how == "die":
        assert first.wait(60) == -9


async def test_a_worker_with_a_blocked_loop_ends_itself(play: Crew, owner: Any) -> None:
    worker = play.start("1", TOYS_HUNG_S="3")
    await fill(owner, word("bad", "poison", "poison", how="block"))
    await asyncio.to_thread(worker.wait, 90)
    assert worker.returncode == 1
    assert "time.sleep" in play.log(worker) or "poison" in play.log(worker)


@pytest.mark.slow
async def test_a_job_that_ignores_cancellation_blocks_no_slot(play: Crew, owner: Any) -> None:
    worker = play.start("1", TOYS_OVERDUE_S="1")
    await fill(owner, word("bad", "poison", "poison", how="ignores-cancel"))
    await until(lambda: noted(owner, "bad:begun"))
    await fill(owner, *(word(n) for n in range(HARMLESS)))
    row = await until(lambda: dead(owner), within_s=120)
    assert row["crashes"] == 2  # abandoned by its worker, then ended with its own process
    await until(lambda: _all_harmless(owner))
    started = time.monotonic()
    assert play.stop(worker) == 0
    assert time.monotonic() - started < FINISH_WITHIN_S, "it waited for what does not listen"


async def test_a_permanent_failure_is_not_retried(play: Crew, owner: Any) -> None:
    play.start("1")
    await fill(owner, word("bad", "poison", "poison", how="give up"))
    row = await until(lambda: dead(owner))
    assert (row["attempts"], row["error"].partition(" (")[0]) == (1, "PermanentFailure: never")


async def test_a_dead_job_runs_again_on_request(play: Crew, owner: Any) -> None:
    await fill(owner, word("again"))
    await owner.execute("update florin.queue_job set state = 2, attempts = 3, error = 'x'")
    play.start("1")
    await asyncio.sleep(1)
    assert await left(owner) == 1
    await owner.execute("update florin.queue_job set state = 0, attempts = 0")
    await until(lambda: empty(owner))
    assert len(await noted(owner, "again")) == 1


_HARMLESS = "select count(*) from florin.toy where word ~ '^[0-9]+$'"


async def _all_harmless(owner: Any) -> bool:
    return await owner.fetchval(_HARMLESS) == HARMLESS


async def _only_dead(owner: Any) -> bool:
    return await owner.fetchval("select count(*) from florin.queue_job where state <> 2") == 0
