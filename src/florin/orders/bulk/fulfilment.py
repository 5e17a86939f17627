"""Bulk fulfilment: issue the cards of a paid bulk order, a part at a time, each card once.

The transaction that settles the payment books its money as owed to the buyer, and enqueues the job.
Each part is one transaction: the fence of the lease, the lock of the order, the money that goes
from what is owed to the cards, the cards with their deliveries, and their claims in `order_card`.
A part that is interrupted leaves nothing; a committed one is found by its claims.
"""

from uuid import UUID

from florin.kit.postgres.database import Row, Tx
from florin.kit.queue.enqueue import NewJob, enqueue
from florin.kit.queue.job import Continue, QueuedJob
from florin.orders.clawback import post_gateway
from florin.orders.events import record_order, record_payment
from florin.orders.fulfilment import ITEMS, CardFulfilment
from florin.payments.jobs import look_job

QUEUE, KIND = "bulk", "order"
PART = 100  # cards of one transaction

_NEXT = f"""{ITEMS}
  and not exists (select from florin.order_card c where c.merchant = i.merchant and c.item = i.id)
order by i.position limit $3
"""


def bulk_order_job(merchant: UUID, order: UUID) -> NewJob:
    """Issue the cards of a paid bulk order."""
    return NewJob(
        queue=QUEUE,
        kind=KIND,
        payload={"merchant": str(merchant), "order": str(order)},
        dedupe=f"order:{order}",
    )


async def begin_bulk_in(tx: Tx, payment: Row, order: Row, actor: str) -> None:
    """Record that a locked bulk order is paid. Its money is owed to the buyer until its cards are
    issued.
    """
    merchant = order["merchant"]
    await tx.run(
        "update florin.orders set state = 'paid', paid_by = $3, paid_at = clock(merchant)"
        " where merchant = $1 and id = $2 and paid_by is null",
        merchant,
        order["id"],
        payment["id"],
    )
    await post_gateway(
        tx, merchant, "receipt", order["currency"], order["amount"], payment["id"], actor=actor
    )
    await record_payment(tx, merchant, payment["id"], "payment.paid", actor)
    await record_order(tx, merchant, order["id"], "order.paid", actor)
    await enqueue(tx, bulk_order_job(merchant, order["id"]))


async def fulfil_bulk_order(
    job: QueuedJob, fulfilment: CardFulfilment, actor: str
) -> Continue | None:
    """Issue what is not issued yet. Raises asyncpg.UniqueViolationError when a new code is in use
    already (one in 2^75): the job is then run again.
    """
    merchant, order = UUID(job.payload["merchant"]), UUID(job.payload["order"])
    while not job.stopping:
        async with job.effect() as tx:
            row = await tx.one(
                "select state, paid_by, currency from florin.orders"
                " where merchant = $1 and id = $2 for no key update",
                merchant,
                order,
            )
            if row is None or row["state"] != "paid":
                return None
            items = await tx.all(_NEXT, merchant, order, PART)
            payment: UUID = row["paid_by"]
            if items:
                amount = sum(item["amount"] for item in items)
                await post_gateway(
                    tx, merchant, "applied", row["currency"], amount, payment, actor=actor
                )
                made = await fulfilment.put_on_cards(tx, items, {order: payment}, actor)
                await fulfilment.enqueue_deliveries(tx, made.deliveries)
                await job.step(tx)
            else:
                await tx.run(
                    "update florin.orders set state = 'fulfilled' where merchant = $1 and id = $2",
                    merchant,
                    order,
                )
                await record_order(tx, merchant, order, "order.fulfilled", actor)
                # Refunds and disputes at the gateway had to wait for the cards.
                await enqueue(tx, look_job(merchant, payment, cause="fulfilled"))
                return None
    return Continue()
