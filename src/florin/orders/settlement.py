"""Settlement: the one transaction that makes of paid money a card.

The return page, the webhook, the poll and the reconciliation all end here, with what the gateway
said when it was asked. The second one finds the payment settled: settlers of one payment wait
for each other at its row, `orders.paid_by` admits one payment, and the key of `order_card` admits
each card once. Locks are taken in one order: payment, order, cards. Payments that are paid at the
same time, and of which nothing else is to be said, are settled together (see batches/settling).
"""

import asyncio
from datetime import timedelta

import asyncpg

from florin.kit import ids
from florin.kit.errors import Overloaded, Refusal
from florin.kit.observability import logging
from florin.kit.observability.context import current_work
from florin.kit.postgres.database import Database, Row, Tx
from florin.orders.batches.sales import (
    FLORIN,
    LOCK_ORDERS,
    LOCK_PAYMENTS,
    Sale,
    difference,
    fulfil_in,
    receive_in,
    record_fee_in,
)
from florin.orders.batches.settling import SettlementBatches
from florin.orders.bulk.fulfilment import begin_bulk_in
from florin.orders.clawback import post_gateway
from florin.orders.disputes import sync_disputes_in
from florin.orders.events import record_order, record_payment
from florin.orders.fulfilment import CardFulfilment, read_items
from florin.orders.payment_mails import send_bulk_receipt_in
from florin.orders.refunds import insert_refund_in, sync_refunds_in
from florin.payments.gateway import PaymentRow, PaymentState, Seen
from florin.payments.gateway_requests import count_payment_attempt

ATTEMPTS = 10
BUSY_ATTEMPTS = 2  # each waits for cards; the look that begins again hears what is true by then
_PAUSE_S = 0.05
# The states that a payment may go to without money. `paid` never goes back, and what has ended can
# only still be paid (late money).
_FOLLOWS = {
    "created": {"processing", "failed", "expired"},
    "open": {"processing", "failed", "expired"},
    "processing": {"failed", "expired"},
}
# After how long an open payment is looked at again, by its age.
_LOOKS = tuple(
    (timedelta(minutes=age), timedelta(minutes=pause))
    for age, pause in ((3, 1), (30, 5), (120, 30), (60 * 24, 120), (60 * 24 * 40, 60 * 24))
)
_log = logging.get_logger()


class Settlement:
    """Settles payments by what their gateways say."""

    def __init__(self, database: Database, fulfilment: CardFulfilment) -> None:
        self._database = database
        self._fulfilment = fulfilment
        self.batches = SettlementBatches(database, fulfilment)

    async def settle(self, payment: PaymentRow, seen: Seen, *, real_money: bool) -> None:
        """Record what the gateway said. Repetitions and concurrent calls change nothing more.

        `real_money`: whether the gateway is for real money.
        Raises Overloaded if cards of the order stay in use by others: look again.
        """
        if await self.batches.settle(payment, seen, real_money=real_money):
            count_payment_attempt(payment.provider, "paid")
        else:
            await self._settle_alone(payment, seen, real_money=real_money)

    async def _settle_alone(self, payment: PaymentRow, seen: Seen, *, real_money: bool) -> None:
        review: str | None = None
        busy = 0
        for _ in range(ATTEMPTS):
            try:
                async with self._database.transaction() as tx:
                    ended = await self._settle_in(tx, payment, seen, review, real_money=real_money)
            except asyncpg.UniqueViolationError as error:
                # A new code is in use already (one in 2^75): others are drawn.
                if "account_merchant_code_hash_key" not in str(error):
                    raise
            except (Overloaded, asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                busy += 1
                if busy == BUSY_ATTEMPTS:
                    raise Overloaded(
                        "the order is in use; the payment is looked at again"
                    ) from error
                await asyncio.sleep(_PAUSE_S)
            except Refusal as refusal:
                if review is not None:
                    raise
                review = f"{refusal.code}: {refusal.detail}"  # the money is kept for its buyer
            else:
                if ended is not None:
                    count_payment_attempt(payment.provider, ended)
                return
        raise Overloaded("no new code was found; the payment is looked at again")

    async def _settle_in(
        self, tx: Tx, payment: PaymentRow, seen: Seen, review: str | None, *, real_money: bool
    ) -> PaymentState | None:
        """Return the state of the payment if this is how it ended."""
        merchant = payment.merchant
        row = await tx.one(LOCK_PAYMENTS, [merchant], [payment.id])
        order = row and await tx.one(LOCK_ORDERS, [merchant], [row["orders"]])
        assert row is not None
        assert order
        before = row["state"]
        if row["state"] != "paid":
            if seen.state != "paid":
                return await self._record_unpaid(tx, row, seen)
            wrong = difference(row, seen, real_money=real_money) or review
            row, order = await self._receive(tx, row, order, seen, wrong)
        await record_fee_in(tx, row, seen)
        if order["state"] == "paid":
            # Its cards are being issued; the job looks once more when they are.
            return None if before == "paid" else "paid"
        has_cards = order["paid_by"] == row["id"]
        await sync_refunds_in(tx, row, seen.refunds, has_cards=has_cards, actor=FLORIN)
        await sync_disputes_in(tx, row, seen.disputes, has_cards=has_cards, actor=FLORIN)
        return None if before == "paid" else "paid"

    async def _record_unpaid(self, tx: Tx, row: Row, seen: Seen) -> PaymentState | None:
        """A payment without money: its state, which is returned if it is new, and its next look."""
        follows = seen.state in _FOLLOWS.get(row["state"], ())
        state = seen.state if follows else row["state"]
        due = next_look(row) if state in {"created", "open", "processing"} else None
        await tx.run(
            "update florin.payment set state = $3, failure = coalesce($4, failure), look_due = $5"
            " where merchant = $1 and id = $2",
            row["merchant"],
            row["id"],
            state,
            seen.failure if follows else None,
            due,
        )
        if follows:
            await record_payment(tx, row["merchant"], row["id"], f"payment.{state}", FLORIN)
        return seen.state if follows else None

    async def _receive(
        self, tx: Tx, row: Row, order: Row, seen: Seen, wrong: str | None
    ) -> tuple[Row, Row]:
        """Money has arrived: for cards, or else it is kept for its buyer and returned. Return the
        payment and the order as they are then.
        """
        paid = (await receive_in(tx, [(row, seen)]))[row["id"]]
        stands = order["state"] == "placed" and order["paid_by"] is None
        if wrong is not None or not stands:
            await self._keep(tx, row, order, seen, wrong if stands else None)
        elif order["bulk"]:
            await begin_bulk_in(tx, row, order, FLORIN)
            await send_bulk_receipt_in(tx, order, row["provider"], test=not seen.real_money)
        else:
            trace = current_work().to_text()
            sale = Sale(paid, order, test=not seen.real_money, trace=trace)
            items = await read_items(tx, [sale.name])
            return paid, (await fulfil_in(tx, self._fulfilment, [sale], items))[0]
        return await _read_again(tx, row)

    async def _keep(self, tx: Tx, row: Row, order: Row, seen: Seen, wrong: str | None) -> None:
        """Money that buys no cards. `wrong`: why an order that stands needs a review."""
        merchant, payment = row["merchant"], row["id"]
        await post_gateway(
            tx, merchant, "receipt", seen.currency, seen.amount, payment, actor=FLORIN
        )
        if wrong is not None:
            _log.error("a payment needs a review", payment=payment.hex, reason=wrong)
            await tx.run(
                "update florin.orders set state = 'review', review = $3"
                " where merchant = $1 and id = $2",
                merchant,
                order["id"],
                wrong,
            )
            await record_order(tx, merchant, order["id"], "order.review", FLORIN)
        else:
            await self._return_surplus(tx, row, seen)
        await record_payment(tx, merchant, payment, "payment.paid", FLORIN)

    async def _return_surplus(self, tx: Tx, row: Row, seen: Seen) -> None:
        """The order was paid by another payment, or does not stand any more."""
        merchant, payment = row["merchant"], row["id"]
        await tx.run(
            "update florin.payment set surplus = true where merchant = $1 and id = $2",
            merchant,
            payment,
        )
        await insert_refund_in(
            tx, merchant, payment, ids.new_id(), seen.amount, seen.currency, [],
            loss=0, reason="the order was paid by another payment or does not stand any more",
            actor=FLORIN,
        )  # fmt: skip
        await record_payment(tx, merchant, payment, "payment.surplus", FLORIN)


async def _read_again(tx: Tx, row: Row) -> tuple[Row, Row]:
    merchant = row["merchant"]
    payment = await tx.one(
        "select * from florin.payment where merchant = $1 and id = $2", merchant, row["id"]
    )
    order = await tx.one(
        "select * from florin.orders where merchant = $1 and id = $2", merchant, row["orders"]
    )
    assert payment is not None
    assert order is not None
    return payment, order


def next_look(row: Row) -> object:
    """When an open payment is looked at again; None after 40 days."""
    age = row["now"] - row["created_at"]
    pause = next((pause for most, pause in _LOOKS if age < most), None)
    return None if pause is None else row["now"] + pause
