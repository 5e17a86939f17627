"""Advance: moves the clock of a test merchant from one due instant to the next, and at each does
what is due there, so that everything happens in order and at its time.

`clock_moving` stops deliveries of webhooks meanwhile: they follow events up to an instant that
depends on the clock, and a transaction that began before a move may date events before it.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from florin.cards.jobs.job import read_enqueued_job
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.job import Continue, QueuedJob
from florin.test_clock.due_work import DueWork

SLICE_S = 20.0
_LOOK_S = 0.02
_SETTLE_S = 0.3

_JOB = "select * from florin.job where merchant = $1 and id = $2"
_BEGIN = "update florin.job set state = 'running' where merchant = $1 and id = $2"
_BEGIN_MOVING = "update florin.merchant set clock_moving = true where id = $1"
_END_MOVING = "update florin.merchant set clock_moving = false where id = $1"
_NOW = "select clock($1) as now"
# Forward only. Seconds, not days: a day of a time zone may have another length.
_MOVE = """
update florin.merchant set clock_offset = greatest(clock_offset,
  make_interval(secs => extract(epoch from $2::timestamptz - clock_timestamp())::float8))
where id = $1
"""
_MOVED = "select clock_timestamp() as at"
_ENDED = "select coalesce(oldest_money(), clock_timestamp()) > $1 as ended"
_DONE = "update florin.job set done = 1 where merchant = $1 and id = $2"


async def advance_clock(
    job: QueuedJob, database: Database, works: Sequence[DueWork]
) -> Continue | None:
    """Move the clock of a job's merchant to the job's instant, and do what is due until then."""
    merchant, uuid, row = await read_enqueued_job(database, _JOB, job.payload)
    if row["state"] == "finished":
        return None
    to: datetime = row["advance_to"]
    until = time.monotonic() + SLICE_S
    if await _now(database, merchant) < to:
        async with job.effect() as tx:
            await tx.run(_BEGIN, merchant, uuid)
            await tx.run(_BEGIN_MOVING, merchant)
    if not await _move_to(job, database, merchant, to, works, until):
        return Continue()
    await _wait_for_transactions(database)
    async with job.effect() as tx:
        await tx.run(_END_MOVING, merchant)
    for work in works:
        if work.is_settled is not None and not await work.is_settled(database, merchant, to):
            return Continue(delay_s=_SETTLE_S)
    async with job.effect(last=True) as tx:
        await tx.run(_DONE, merchant, uuid)
        await tx.value("select finish_job($1, $2, $3)", merchant, uuid, ids.new_id())
    return None


async def _move_to(
    job: QueuedJob,
    database: Database,
    merchant: UUID,
    to: datetime,
    works: Sequence[DueWork],
    until: float,
) -> bool:
    """Go from one due instant to the next; return whether `to` is reached."""
    while True:
        for work in works:
            while work.run_due is not None and await work.run_due(job, merchant):
                if job.stopping or time.monotonic() > until:
                    return False
                await asyncio.sleep(_LOOK_S)
        if await _now(database, merchant) >= to:
            return True
        if job.stopping or time.monotonic() > until:
            return False
        found = [await work.next_due(database, merchant) for work in works if work.next_due]
        async with job.effect() as tx:
            await tx.run(_MOVE, merchant, min([to, *(each for each in found if each)]))
            await job.step(tx)


async def _now(database: Database, merchant: UUID) -> datetime:
    row = await database.one(_NOW, merchant)
    assert row is not None
    now: datetime = row["now"]
    return now


async def _wait_for_transactions(database: Database) -> None:
    """Wait until every transaction that began before the last move has ended."""
    moved = await database.one(_MOVED)
    assert moved is not None
    while True:
        row = await database.one(_ENDED, moved["at"])
        assert row is not None
        if row["ended"]:
            return
        await asyncio.sleep(_LOOK_S)
