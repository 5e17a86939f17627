"""Fence: a worker that lost its lease changes nothing; an attempt counts when a job is claimed.

Two workers claim the same job, the second after the lease of the first expired.
"""

import asyncio
from typing import Any

import pytest

from florin.kit.queue.job import LeaseLost, QueuedJob
from tests.kit.queue.test_worker import left
from tests.kit.queue.toys import PLAN, fill, word

CLAIM = """
select * from queue_claim(gen_random_uuid(), array['toys'], array[$1::integer], $1,
  array['effect'], array[2], interval '60 s')
"""
CLEAN = "delete from florin.queue_job; delete from florin.toy"
LAPSE = "update florin.queue_job set lease_until = now() - interval '1 s' where state = 1"


@pytest.fixture
async def rows(owner: Any, toy_table: None) -> Any:
    """The owner's connection, on an empty queue without workers."""
    del toy_table
    await owner.execute("insert into florin.queue (name) values ('toys') on conflict do nothing")
    await owner.execute(CLEAN)
    yield owner
    await owner.execute(CLEAN)


async def two_holders(rows: Any) -> tuple[Any, Any]:
    """A holder whose lease expired, and the holder that claimed the job after it."""
    await fill(rows, word("x"))
    expired = await rows.fetchrow(CLAIM, 1)
    await rows.execute(LAPSE)
    await rows.fetch("select * from queue_reap()")
    current = await rows.fetchrow(CLAIM, 1)
    assert (current["id"], current["attempts"], current["crashes"]) == (expired["id"], 2, 1)
    assert current["fence"] > expired["fence"]
    return expired, current


async def test_a_job_belongs_to_one_worker_until_its_lease_expires(rows: Any) -> None:
    await fill(rows, word("x"))
    first = await rows.fetchrow(CLAIM, 1)
    assert await rows.fetchrow(CLAIM, 1) is None
    await fill(rows, word("y"))
    (other,) = await rows.fetch(CLAIM, 5)
    assert other["id"] != first["id"]
    await rows.execute("delete from florin.queue_job where id = $1", other["id"])
    assert await rows.fetch("select * from queue_reap()") == []
    assert await rows.fetchrow(CLAIM, 1) is None
    await rows.execute(LAPSE)
    assert len(await rows.fetch("select * from queue_reap()")) == 1
    assert (await rows.fetchrow(CLAIM, 1))["id"] == first["id"]


async def test_claims_do_not_wait_for_each_other(rows: Any, app: Any) -> None:
    await fill(rows, word("x"), word("y"))
    await app.execute("set lock_timeout = '5s'")
    async with rows.transaction():
        first = await rows.fetchrow(CLAIM, 1)
        second = await app.fetchrow(CLAIM, 5)  # only the other job
    assert {first["id"], second["id"]} == {
        row["id"] for row in await rows.fetch("select id from florin.queue_job where state = 1")
    }


@pytest.mark.parametrize(
    ("verb", "nothing"),
    [
        ("queue_hold($1, $2, '60 s')", False),
        ("(select count(*) from queue_hold_all(array[$1], array[$2], '60 s'))", 0),
        ("queue_begin($1, $2)", False),
        ("queue_continue($1, $2, '0')", False),
        ("queue_fail($1, $2, 'late', '0', true)", None),
        ("(select count(*) from queue_complete(array[$1], array[$2]))", 0),
        ("queue_give_back(array[$1], array[$2])", "void"),
        ("queue_heartbeat(array[$1], array[$2], '60 s')", "lost"),
    ],
)
async def test_a_worker_without_the_lease_changes_nothing(
    rows: Any, verb: str, nothing: object
) -> None:
    expired, current = await two_holders(rows)
    before = await rows.fetchrow("select * from florin.queue_job")
    sql = f"select {verb}"
    found = await rows.fetchval(sql.replace("$1", "$1::bigint").replace("$2", "$2::bigint"),
                                expired["id"], expired["fence"])  # fmt: skip
    if nothing != "void":
        assert found == (expired["fence"] if nothing == "lost" else nothing)
    after = await rows.fetchrow("select * from florin.queue_job")
    assert after == before, "it changed the row of the one who has it"
    assert after["fence"] == current["fence"]


async def test_an_effect_without_the_lease_is_rolled_back(rows: Any, database: Any) -> None:
    expired, current = await two_holders(rows)
    insert = "insert into florin.toy (word) values ($1)"

    async def try_it() -> None:
        async with QueuedJob(expired, database, lease=PLAN.lease).effect(last=True) as tx:
            await tx.run(insert, "expired")

    with pytest.raises(LeaseLost):
        await try_it()
    async with QueuedJob(current, database, lease=PLAN.lease).effect(last=True) as tx:
        await tx.run(insert, "current")
    assert [row["word"] for row in await rows.fetch("select word from florin.toy")] == ["current"]
    assert await left(rows) == 0


async def test_a_joint_effect_is_of_the_jobs_that_are_held(rows: Any, database: Any) -> None:
    """Not of one whose lease was lost, nor of one whose row is locked: it does not wait."""
    expired, current = await two_holders(rows)
    await fill(rows, word("y"), word("z"))
    busy, free = await rows.fetch(CLAIM, 2)
    lost, busy, free = (QueuedJob(row, database, lease=PLAN.lease) for row in (expired, busy, free))
    async with rows.transaction():
        await rows.fetchrow("select from florin.queue_job where id = $1 for update", busy.id)
        async with asyncio.timeout(5), free.joint_effect([lost, busy, free]) as effect:
            assert list(effect.held) == [free]
            effect.last.extend(effect.held)
    assert (lost.finished, busy.finished, free.finished) == (False, False, True)
    ids = [row["id"] for row in await rows.fetch("select id from florin.queue_job order by id")]
    assert ids == sorted([current["id"], busy.id])


async def test_a_lease_does_not_expire_during_a_joint_effect(rows: Any, database: Any) -> None:
    await fill(rows, word("x"))
    job = QueuedJob(await rows.fetchrow(CLAIM, 1), database, lease=PLAN.lease)
    await rows.execute(LAPSE)
    async with job.joint_effect([job]) as effect, database.connection() as other:
        assert await other.fetch("select * from queue_reap()") == []
        effect.last.append(job)
    assert await left(rows) == 0


async def test_an_attempt_that_kills_its_worker_counts(rows: Any) -> None:
    """A job that kills every worker is dead after three attempts, though none could report it."""
    await fill(rows, word("x"))
    for attempt in (1, 2, 3):
        job = await rows.fetchrow(CLAIM, 1)
        assert (job["attempts"], job["crashes"]) == (attempt, attempt - 1)
        await rows.fetchval("select queue_begin($1, $2)", job["id"], job["fence"])
        await rows.execute(LAPSE)
        (reaped,) = await rows.fetch("select * from queue_reap()")
        assert reaped["dead"] == (attempt == 3)
    assert await rows.fetchrow(CLAIM, 1) is None
    assert "lost" in await rows.fetchval("select error from florin.queue_job where state = 2")


async def test_a_lease_does_not_expire_during_its_effect(rows: Any, database: Any) -> None:
    """While the transaction of its effect is open, no worker claims the job."""
    await fill(rows, word("x"))
    job = QueuedJob(await rows.fetchrow(CLAIM, 1), database, lease=PLAN.lease)
    await rows.execute(LAPSE)
    async with job.effect(last=True), database.connection() as other:
        assert await other.fetch("select * from queue_reap()") == []
        # Nor is it reported as lost to the task that renews the other leases of that worker.
        lost = "select * from queue_heartbeat(array[$1::bigint], array[$2::bigint], '60 s')"
        assert await other.fetch(lost, job.id, job.fence) == []
    assert await left(rows) == 0
