"""Reminders: an e-mail to a card's recipient some days before the card expires, once for each day.

The cause of a reminder is the card, the days and the expiry date, so no rerun, restore or change of
the clock sends a second one. A card that is closer to its expiry than several of its program's days
gets the reminder of the smallest number only, and none that is older than the card itself.
"""

from uuid import UUID

from florin.deliveries.delivery import NewDelivery, enqueue_delivery
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Row, Tx
from florin.kit.queue.job import Continue, QueuedJob

BATCH = 200
FARTHEST_DAYS = 365

# Sent at nine in the morning of the merchant's zone, or at once when it is later than that.
_DUE_OF = """
select a.merchant, a.id, n.days, c.recipient_email, n.cause,
  greatest(k.at, (date_trunc('day', k.at at time zone m.timezone) + interval '9 hours')
    at time zone m.timezone) as due_at,
  coalesce((select d.locale from florin.delivery d where d.merchant = a.merchant and d.card = a.id
    and d.kind = 'gift' order by d.id desc limit 1), 'en') as locale
from florin.merchant m
cross join lateral (select clock_timestamp() + m.clock_offset as at) k
join florin.account a on a.merchant = m.id and a.state in ('active', 'blocked')
  and a.expires_at > k.at and a.expires_at <= k.at + make_interval(days => $2)
join florin.program p on p.merchant = a.merchant and p.id = a.program
cross join lateral (select min(d) as days, 'reminder:' || replace(a.id::text, '-', '') || ':'
    || min(d) || ':' || floor(extract(epoch from a.expires_at)) as cause
  from unnest(p.reminder_days) d where a.expires_at <= k.at + make_interval(days => d)) n
join florin.card c on c.merchant = a.merchant and c.id = a.id
where {merchants} and a.state = 'active' and a.balance > 0 and c.recipient_email is not null
  and a.issued_at <= a.expires_at - make_interval(days => n.days)
  and not exists (select from florin.delivery d where d.merchant = a.merchant and d.cause = n.cause)
limit $1
"""
_DUE, _DUE_OF_ONE = _DUE_OF.format(merchants="true"), _DUE_OF.format(merchants="m.id = $3")


async def remind_recipients(job: QueuedJob, sealer: Sealer) -> Continue | None:
    """Make the reminders that are due by their merchants' clocks."""
    while not job.stopping:
        async with job.effect() as tx:
            rows = await tx.all(_DUE, BATCH, FARTHEST_DAYS)
            for row in rows:
                await enqueue_delivery(tx, _reminder(row), sealer)
        if len(rows) < BATCH:
            return None
    return Continue()


async def make_due_reminders(tx: Tx, merchant: UUID) -> bool:
    """Make reminders of one merchant that are due; return whether more may be."""
    rows = await tx.all(_DUE_OF_ONE, BATCH, FARTHEST_DAYS, merchant)
    for row in rows:
        await enqueue_delivery(tx, _reminder(row))
    return len(rows) >= BATCH


def _reminder(row: Row) -> NewDelivery:
    return NewDelivery(
        merchant=row["merchant"],
        cause=row["cause"],
        kind="reminder",
        channel="email",
        card=row["id"],
        address=row["recipient_email"],
        locale=row["locale"],
        data={"days": row["days"]},
        due_at=row["due_at"],
    )
