"""Jobs: look at payments, send refunds, find what is due, and let unpaid orders lapse."""

from uuid import UUID

from florin.kit.postgres.database import Database, Tx
from florin.kit.queue.enqueue import enqueue_now
from florin.kit.queue.job import Continue, QueuedJob
from florin.orders.events import record_order
from florin.orders.looking import PaymentLooker
from florin.orders.settlement import FLORIN
from florin.payments.jobs import look_job, refund_job

DUE_MAX = 500
LAPSE_AFTER = "24 hours"

# A paid payment is due until its fee is known (see batches/sales), also at a gateway that is away,
# but not for ever.
_DUE_PAYMENTS = """
update florin.payment p set look_due = case
  when p.state = 'paid' and clock(p.merchant) > p.paid_at + interval '2 hours' then null
  else clock_timestamp() + interval '1 minute' end
from (select merchant, id from florin.payment where look_due <= clock_timestamp()
  order by look_due limit $1 for no key update skip locked) d
where p.merchant = d.merchant and p.id = d.id returning p.merchant, p.id
"""
_DUE_REFUNDS = """
select merchant, id from florin.payment_refund where due_at <= clock_timestamp()
order by due_at limit $1
"""
_UNPAID = f"""o.state = 'placed' and clock(o.merchant) > o.placed_at + interval '{LAPSE_AFTER}'
  and not exists (select from florin.payment p where p.merchant = o.merchant and p.orders = o.id
    and (p.state in ('created', 'open', 'processing', 'paid')
      or p.created_at > clock(o.merchant) - interval '{LAPSE_AFTER}'))"""
LAPSED = f"""
select o.merchant, o.id from florin.orders o where {_UNPAID}
order by o.merchant, o.id limit $1 for no key update of o skip locked
"""  # noqa: S608 -- as above
# Compared once more, now that the order is locked: another attempt to pay it may have begun after
# the query above took its snapshot. One that begins later waits for the order, and opens it again.
_LAPSE = f"""
update florin.orders o set state = 'lapsed', closed_at = clock(o.merchant)
where o.merchant = $1 and o.id = $2 and {_UNPAID} returning o.id
"""  # noqa: S608 -- as above


async def look_at_payment(job: QueuedJob, looker: PaymentLooker) -> None:
    """Payload: `merchant`, `payment`."""
    await looker.look(UUID(job.payload["merchant"]), UUID(job.payload["payment"]))


async def send_refund(job: QueuedJob, looker: PaymentLooker) -> None:
    """Payload: `merchant`, `refund`."""
    await looker.send_refund(UUID(job.payload["merchant"]), UUID(job.payload["refund"]))


async def find_due(job: QueuedJob, _database: Database) -> Continue | None:
    """Enqueue the looks and refunds that are due, and let unpaid orders lapse."""
    async with job.effect() as tx:
        found = await tx.all(_DUE_PAYMENTS, DUE_MAX)
        jobs = [look_job(row["merchant"], row["id"]) for row in found]
        refunds = await tx.all(_DUE_REFUNDS, DUE_MAX)
        jobs += [refund_job(row["merchant"], row["id"]) for row in refunds]
        if jobs:
            await enqueue_now(tx, *jobs)
        lapsed = await lapse_orders(tx)
        await tx.run(
            "delete from florin.gateway_event where received_at < clock_timestamp()"
            " - interval '90 days'"
        )
    return Continue() if max(len(found), lapsed) == DUE_MAX else None


async def lapse_orders(tx: Tx) -> int:
    """Let unpaid orders lapse; return how many were found."""
    rows = await tx.all(LAPSED, DUE_MAX)
    for row in rows:
        if await tx.one(_LAPSE, row["merchant"], row["id"]) is not None:
            await record_order(tx, row["merchant"], row["id"], "order.lapsed", FLORIN)
    return len(rows)
