"""Scheduling: priority, delay, deduplication, limits, versions, ticks, pauses, dead letters."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from florin.kit.queue import admin
from florin.kit.queue.config import QueueConfig, Schedule
from florin.kit.queue.maintenance import last_tick
from tests.kit.queue.test_worker import empty, left, noted
from tests.kit.queue.toys import PLAN, fill, word
from tests.support.waiting import until
from tests.support.workers import Crew


async def test_the_higher_priority_runs_first(play: Crew, owner: Any) -> None:
    for priority in (0, 5, -3, 10):
        await fill(owner, word(f"p{priority}", priority=priority))
    play.start("1")
    await until(lambda: empty(owner))
    rows = await owner.fetch("select word from florin.toy where word like 'p%' order by id")
    assert [row["word"] for row in rows] == ["p10", "p5", "p0", "p-3"]


async def test_a_delayed_job_waits_and_is_not_counted_as_ready(play: Crew, owner: Any) -> None:
    play.start("1")
    await until(lambda: _workers(owner, 1))
    due = datetime.now(UTC) + timedelta(seconds=3)
    await fill(owner, word("later", due_at=due))
    facts = await owner.fetchrow("select * from queue_facts() where name = 'toys'")
    assert (facts["waiting"], facts["delayed"], facts["oldest_s"]) == (0, 1, 0)
    await until(lambda: empty(owner))
    (row,) = await noted(owner, "later")
    assert row["at"] >= due


async def test_a_duplicate_is_not_queued_until_the_first_is_done(play: Crew, owner: Any) -> None:
    assert await fill(owner, word("one", dedupe="x"), word("one", dedupe="x")) == 1
    assert await fill(owner, word("one", dedupe="x")) == 0
    assert await fill(owner, word("tick", "tick", "ticks", dedupe="x")) == 1  # another queue
    await owner.execute(
        "delete from florin.queue_job where queue = 'ticks'"
    )  # a job of the test itself
    play.start("1")
    await until(lambda: empty(owner))
    assert len(await noted(owner, "one")) == 1
    assert await fill(owner, word("one", dedupe="x")) == 1


async def test_limits_hold_across_the_fleet(play: Crew, owner: Any) -> None:
    for _ in range(2):
        play.start("5")
    await until(lambda: _workers(owner, 2))
    await fill(owner, *(word(n, "slow few", "few", seconds=0.3) for n in range(12)))
    await fill(owner, *(word(f"s{n}", "seldom", "slowly") for n in range(20)))
    most = 0

    async def over() -> bool:
        nonlocal most
        now = await owner.fetchval(
            "select count(*) from florin.queue_job where queue = 'few' and state = 1"
        )
        most = max(most, now)
        return await left(owner) == 0

    await until(over, within_s=120)
    assert most == 3
    times = await owner.fetchrow(
        "select max(at) - min(at) as took from florin.toy where word like 's%' and word ~ '[0-9]'"
    )
    # Twenty at ten a second, ten of them at once: a second, if each ran when it was claimed.
    assert times["took"] >= timedelta(seconds=0.4)


@pytest.mark.parametrize(("kind", "queue"), [("alone", "one"), ("slow few", "few")])
async def test_a_free_slot_claims_the_next_job_at_once(
    play: Crew, owner: Any, kind: str, queue: str
) -> None:
    """It does not wait for the next poll, which never happens here."""
    await fill(owner, *(word(n, kind, queue, seconds=0) for n in range(50)))
    play.start("5", TOYS_LOOK_S="3600")
    await until(lambda: empty(owner))
    done = await owner.fetchval("select count(*) from florin.toy where word ~ '^[0-9]+$'")
    assert done == 50


async def test_a_lost_worker_frees_the_limit_it_used(play: Crew, owner: Any) -> None:
    await fill(owner, *(word(n, "slow few", "few", seconds=25) for n in range(3)))
    first = play.start("5")
    for n in range(3):
        await until(lambda: noted(owner, f"{n}:begun"))  # noqa: B023 -- awaited at once
    await fill(owner, *(word(n, "slow few", "few", seconds=0) for n in range(3, 9)))
    play.kill(first)
    await owner.execute("update florin.queue_job set payload = payload - 'seconds' || $1",
                        '{"seconds": 0}')  # fmt: skip
    play.start("5")
    await until(lambda: empty(owner), within_s=60)
    done = await owner.fetch("select word from florin.toy where word ~ '^[0-9]$' order by 1")
    assert [row["word"] for row in done] == [str(n) for n in range(9)]


async def test_a_newer_payload_waits_for_a_newer_worker(play: Crew, owner: Any) -> None:
    await fill(owner, word("old", version=1), word("new", version=3), word("now", version=2))
    play.start("2")
    await until(lambda: _left(owner, 1))
    await asyncio.sleep(1)
    row = await owner.fetchrow("select * from florin.queue_job")
    assert (row["version"], row["state"], row["attempts"]) == (3, 0, 0)
    assert not await noted(owner, "new")


async def test_a_tick_is_claimed_once_by_many_workers(play: Crew, owner: Any) -> None:
    await owner.execute("delete from florin.queue_tick")
    for _ in range(4):
        play.start("1")
    await until(lambda: _workers(owner, 4))
    await until(lambda: _ticked(owner))
    await asyncio.sleep(1)  # also for the worker that claimed the first
    await until(lambda: empty(owner))
    rows = await owner.fetch(
        "select word, count(*) as times from florin.toy where word like '20%' group by word"
    )
    assert {row["times"] for row in rows} == {1}
    assert len(rows) <= await owner.fetchval("select count(*) from florin.queue_tick")


async def test_a_claimed_tick_is_not_claimed_again(owner: Any, toy_table: None) -> None:
    """Not even long after its job is done."""
    del toy_table
    tick = datetime(2026, 5, 4, 3, 23, tzinfo=UTC)
    sql = "select queue_tick('daily', $1, 'ticks', 'tick', 1, '{}')"
    taken = [await owner.fetchval(sql, each) for each in (tick, tick)]
    await owner.execute("delete from florin.queue_job where dedupe = 'tick:daily'")
    taken += [await owner.fetchval(sql, each) for each in (tick, tick + timedelta(days=1))]
    assert taken == [True, False, False, True]
    gone = await owner.execute("delete from florin.queue_job where dedupe = 'tick:daily'")
    assert gone == "DELETE 1"


def test_only_the_last_missed_tick_is_caught_up() -> None:
    daily = Schedule(name="daily", cron="23 3 * * *", queue="ticks", kind="tick")
    assert last_tick(daily, datetime(2026, 5, 4, 3, 22, 59, tzinfo=UTC)) == datetime(
        2026, 5, 3, 3, 23, tzinfo=UTC
    )
    assert last_tick(daily, datetime(2026, 5, 4, 3, 23, tzinfo=UTC)) == datetime(
        2026, 5, 4, 3, 23, tzinfo=UTC
    )


def test_retry_delays_double_with_jitter() -> None:
    queue = QueueConfig(name="q", importance=1)
    for attempts, least in ((1, 2), (2, 4), (3, 8)):
        delays = {queue.delay(attempts).total_seconds() for _ in range(50)}
        assert least <= min(delays)
        assert max(delays) <= least * 1.5
        assert len(delays) > 40
    assert PLAN.queue("few").attempts == 3


async def test_no_job_of_a_paused_queue_is_claimed(play: Crew, owner: Any) -> None:
    play.start("1")
    await until(lambda: _workers(owner, 1))
    await admin.pause_queue(owner, "me", "toys", paused=True)
    await fill(owner, word("p"))
    await asyncio.sleep(1)
    assert await left(owner) == 1
    await admin.pause_queue(owner, "me", "toys", paused=False)
    await until(lambda: empty(owner))
    with pytest.raises(admin.QueueRequestRefused):
        await admin.pause_queue(owner, "me", "nothing of the kind", paused=True)


async def test_an_operator_retries_and_deletes_dead_letters(play: Crew, owner: Any) -> None:
    del play
    await fill(owner, word("a", dedupe="a"), word("b"), word("c", dedupe="c"))
    await owner.execute("update florin.queue_job set state = 2, attempts = 3, error = 'why'")
    dead = await admin.list_dead_jobs(owner)
    by_word = {job.payload["word"]: job.id for job in dead}
    assert [job.error for job in dead] == ["why"] * 3
    await fill(owner, word("a", dedupe="a"))
    with pytest.raises(admin.QueueRequestRefused, match="already"):
        await admin.retry_jobs(owner, "me", [by_word["b"], by_word["a"]])
    assert len(await admin.list_dead_jobs(owner)) == 3, "half of it happened"
    await admin.retry_jobs(owner, "me", [by_word["b"]])
    await admin.discard_jobs(owner, "me", [by_word["c"]])
    with pytest.raises(admin.QueueRequestRefused, match="not dead"):
        await admin.discard_jobs(owner, "me", [by_word["b"]])
    acts = await owner.fetch("select * from florin.queue_audit where verb <> 'pause' order by id")
    kept = [(act["verb"], act["subject"]) for act in acts if act["verb"] in ("retry", "discard")]
    assert kept == [("retry", str(by_word["b"])), ("discard", str(by_word["c"]))]


async def _ticked(owner: Any) -> bool:
    return await owner.fetchval("select count(*) from florin.toy where word like '20%'") > 0


async def _workers(owner: Any, number: int) -> bool:
    return await owner.fetchval("select count(*) from florin.queue_worker") == number


async def _left(owner: Any, number: int) -> bool:
    return await left(owner) == number
