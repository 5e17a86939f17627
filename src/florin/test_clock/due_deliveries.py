"""Due deliveries: the reminders and deliveries of a test merchant whose clock is moved. They are
sent at their instants: the clock goes on once each was sent or its first attempt failed.
"""

from datetime import datetime
from uuid import UUID

from florin.deliveries.delivery import send_job
from florin.deliveries.reminders import make_due_reminders
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import enqueue
from florin.kit.queue.job import QueuedJob

_BATCH = 200

_NEXT = """
select least(
  (select min(d.due_at) from florin.delivery d
    where d.merchant = $1 and d.state = 'waiting' and d.due_at > k.now),
  (select min(r.at) from florin.account a
    join florin.program p on p.merchant = a.merchant and p.id = a.program
    join florin.card c on c.merchant = a.merchant and c.id = a.id
    cross join lateral (
      select a.expires_at - make_interval(days => d) as at from unnest(p.reminder_days) d) r
    where a.merchant = $1 and a.state = 'active' and a.balance > 0 and a.expires_at > k.now
      and c.recipient_email is not null and r.at > k.now and a.issued_at <= r.at)
) as due
from (select clock($1) as now) k
"""
_TAKE = """
update florin.delivery d set state = 'due', changed_at = clock_timestamp()
from (select z.merchant, z.id from florin.delivery z
  where z.merchant = $1 and z.state = 'waiting' and z.due_at <= clock($1)
  order by z.due_at, z.id limit $2 for update) t
where d.merchant = t.merchant and d.id = t.id
returning d.merchant, d.id, d.channel, d.generation
"""
_UNSENT = """
select exists (select from florin.delivery d where d.merchant = $1
  and (d.state in ('due', 'sending') and d.failure is null
    or d.state = 'waiting' and d.due_at <= clock($1)))
"""


async def find_next_delivery(database: Database, merchant: UUID) -> datetime | None:
    """The first instant after now at which a reminder or a delivery becomes due."""
    row = await database.one(_NEXT, merchant)
    assert row is not None
    due: datetime | None = row["due"]
    return due


async def send_what_is_due(job: QueuedJob, merchant: UUID) -> bool:
    """Make the reminders that are due, and jobs of the deliveries; return whether one of them was
    neither sent nor tried yet.
    """
    async with job.effect() as tx:
        more = await make_due_reminders(tx, merchant)
        rows = await tx.all(_TAKE, merchant, _BATCH)
        if rows:
            await enqueue(
                tx,
                *(
                    send_job(row["merchant"], row["id"], row["channel"], row["generation"])
                    for row in rows
                ),
            )
        await job.step(tx)
        return bool(more or await tx.value(_UNSENT, merchant))
