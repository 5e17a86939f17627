"""Fair turns: merchants alternate, and no merchant gets all slots of a limited queue."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.config import QueueConfig
from florin.kit.queue.enqueue import NewJob, enqueue, enqueue_now

ANN, BEN, CAT = (ids.new_id() for _ in range(3))
NAMES = {ANN: "ann", BEN: "ben", CAT: "cat", None: "florin"}
CLAIM = """
select * from queue_claim(gen_random_uuid(), array['fair'], array[$1::integer], $1,
  array['effect'], array[1], interval '60 s')
"""


@pytest.fixture
async def line(owner: Any) -> Any:
    """The owner's connection, on an empty queue without limits."""
    await owner.execute(
        "delete from florin.queue_job; delete from florin.outbox;"
        " insert into florin.queue (name) values ('fair') on conflict (name)"
        " do update set max_running = null, max_running_per_merchant = null"
    )
    yield owner
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")


def jobs(merchant: UUID | None, number: int = 1, **more: Any) -> list[NewJob]:
    payload = {} if merchant is None else {"merchant": str(merchant)}
    return [NewJob(queue="fair", kind="effect", payload=payload, **more) for _ in range(number)]


async def claim(line: Any, most: int = 1) -> list[Any]:
    rows: list[Any] = await line.fetch(CLAIM, most)
    return sorted(rows, key=lambda row: (-row["priority"], row["place"], -row["waited_s"]))


async def whose(line: Any, taken: Sequence[Any]) -> list[str]:
    rows = await line.fetch("select id, merchant from florin.queue_job")
    found = {row["id"]: NAMES[row["merchant"]] for row in rows}
    return [found[job["id"]] for job in taken]


@pytest.mark.parametrize("way", ["put", "relayed"])
async def test_merchants_take_turns(line: Any, database: Database, way: str) -> None:
    for new_jobs in (jobs(ANN, 50), jobs(BEN, 2), [*jobs(CAT), *jobs(None)]):
        if way == "put":
            await enqueue_now(line, *new_jobs)
            continue
        async with database.transaction() as tx:
            await enqueue(tx, *new_jobs)
        await line.fetch("select queue_relay('{}', '{}', '{}', '{}', 1000)")
    one_by_one = [(await claim(line))[0] for _ in range(4)]
    assert await whose(line, one_by_one) == ["florin", "ann", "ben", "cat"]
    assert await whose(line, await claim(line, 4)) == ["ann", "ben", "ann", "ann"]
    await enqueue_now(line, *jobs(CAT, 2))  # a new merchant does not wait behind the 46 older jobs
    assert await whose(line, await claim(line, 4)) == ["ann", "cat", "ann", "cat"]


async def turns_after(line: Any, *others: Any, long: set[str]) -> list[str]:
    """Whose turns six claims are, of a job of Ann and, from the first claim on, of others. The jobs
    of merchants in `long` continue after each slice; those of the rest end.
    """
    await enqueue_now(line, *jobs(ANN))
    turns: list[str] = []
    for turn in range(6):
        (job,) = await claim(line)
        turns += await whose(line, [job])
        if turn == 0:
            await enqueue_now(line, *others)
        if turns[-1] in long:
            again = "select queue_continue($1, $2, '0')"
            assert await line.fetchval(again, job["id"], job["fence"])
        else:
            await line.fetch("select queue_complete($1, $2)", [job["id"]], [job["fence"]])
    return turns


async def test_a_long_job_queues_again_after_each_slice(line: Any) -> None:
    turns = await turns_after(line, *jobs(BEN), *jobs(CAT), long={"ann", "ben", "cat"})
    assert turns == ["ann", "ben", "cat"] * 2


async def test_slices_of_a_long_job_leave_turns_to_a_merchant_with_many_jobs(line: Any) -> None:
    turns = await turns_after(line, *jobs(BEN, 3), long={"ann"})
    assert turns == ["ann", "ben", "ben", "ann", "ben", "ann"]


async def test_jobs_that_become_due_take_turns(line: Any) -> None:
    await enqueue_now(line, *jobs(ANN, 30))
    await claim(
        line, 20
    )  # turns have passed: a job delayed before them does not precede all others now
    later = await line.fetchval("select now() + interval '1 hour'")
    await enqueue_now(line, *jobs(BEN, 30, due_at=later))
    await line.execute("update florin.queue_job set due_at = now() where state = 3")
    assert await whose(line, await claim(line, 6)) == ["ann", "ben"] * 3


async def test_one_merchant_does_not_get_all_slots(line: Any) -> None:
    await line.execute("update florin.queue set max_running = 4, max_running_per_merchant = 2")
    await enqueue_now(line, *jobs(ANN, 10))
    first = await claim(line, 4)
    assert await whose(line, first) == ["ann", "ann"]
    await enqueue_now(line, *jobs(BEN, 10), *jobs(None))
    assert await whose(line, await claim(line, 4)) == ["florin", "ben"]
    assert await claim(line, 4) == []
    done = "select queue_complete($1, $2)"
    await line.fetch(done, [first[0]["id"]], [first[0]["fence"]])
    assert await whose(line, await claim(line, 4)) == ["ann"]


def test_a_limit_per_merchant_needs_a_limit_of_the_queue() -> None:
    with pytest.raises(ValueError, match="max_running_per_merchant requires max_running"):
        QueueConfig(name="fair", importance=1, max_running_per_merchant=2)
