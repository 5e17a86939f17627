"""Schedule: what becomes due by the merchant's clock, and what no job sends any more."""

import time
from datetime import timedelta

from florin.deliveries.delivery import send_job
from florin.kit.postgres.database import Row
from florin.kit.queue.enqueue import enqueue_now
from florin.kit.queue.job import Continue, QueuedJob

BATCH = 500
SLICE_S = 5.0
# A row that was not touched for so long has no job: its job died, or waited for a setting.
ABANDONED_AFTER = timedelta(minutes=5)

# Test merchants have a clock of their own: theirs are found by merchant.
_DUE = """
with ready as (
  select d.merchant, d.id from florin.delivery d
  where d.state = 'waiting' and d.due_at <= clock_timestamp()
    and not exists (select from florin.merchant m
      where m.id = d.merchant and d.due_at > clock_timestamp() + m.clock_offset)
  union all
  select d.merchant, d.id from florin.merchant m
  join florin.delivery d on d.merchant = m.id and d.state = 'waiting'
    and d.due_at > clock_timestamp() and d.due_at <= clock_timestamp() + m.clock_offset
  where m.test and m.clock_offset > '0'
), taken as (
  select d.merchant, d.id from florin.delivery d join ready r using (merchant, id)
  where d.state = 'waiting' order by d.due_at, d.id limit $1 for update of d skip locked
)
update florin.delivery d set state = 'due', changed_at = clock_timestamp()
from taken t where d.merchant = t.merchant and d.id = t.id
returning d.merchant, d.id, d.channel, d.generation
"""
_ABANDONED = """
update florin.delivery d set changed_at = clock_timestamp()
from (select merchant, id from florin.delivery
  where state in ('due', 'sending') and changed_at < clock_timestamp() - $2::interval
  order by changed_at limit $1 for update skip locked) t
where d.merchant = t.merchant and d.id = t.id
returning d.merchant, d.id, d.channel, d.generation
"""


async def send_due_deliveries(job: QueuedJob) -> Continue | None:
    """Put the deliveries into the queue that became due, or that no job sends any more. A job that
    waits for its next attempt is left as it is.
    """
    until = time.monotonic() + SLICE_S
    while time.monotonic() < until and not job.stopping:
        async with job.effect() as tx:
            rows: list[Row] = [
                *await tx.all(_DUE, BATCH),
                *await tx.all(_ABANDONED, BATCH, ABANDONED_AFTER),
            ]
            if rows:
                await enqueue_now(
                    tx,
                    *(
                        send_job(row["merchant"], row["id"], row["channel"], row["generation"])
                        for row in rows
                    ),
                )
        if len(rows) < BATCH:
            return None
    return Continue()


async def erase_secrets(job: QueuedJob) -> Continue | None:
    """Erase the tokens of links that are kept for resends no longer."""
    while not job.stopping:
        async with job.effect() as tx:
            done = await tx.run(
                "update florin.delivery d set secret_sealed = null, secret_until = null"
                " from (select merchant, id from florin.delivery where secret_sealed is not null"
                " and secret_until < clock_timestamp() limit $1 for update skip locked) t"
                " where d.merchant = t.merchant and d.id = t.id",
                BATCH,
            )
        if done == "UPDATE 0":
            return None
    return Continue()
