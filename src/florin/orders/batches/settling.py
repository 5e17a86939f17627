"""Settling in batches: payments that are paid at the same time are settled in one transaction.

A batch has what is plain: money that is as its payment asks, for an order that waits for it and
buys new cards. All else is left to `settlement`, one by one: a difference, a second payment, a
top-up, a bulk order, refunds and disputes, a row that another transaction holds, and what was in a
batch that failed.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from florin.kit.batcher import Batcher
from florin.kit.errors import Refusal
from florin.kit.observability import logging
from florin.kit.observability.context import current_work
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import BROKEN, Database, Row, Tx
from florin.orders.batches.sales import (
    LOCK_ORDERS,
    LOCK_PAYMENTS,
    Sale,
    difference,
    fulfil_in,
    receive_in,
    record_fee_in,
)
from florin.orders.fulfilment import CardFulfilment, read_items
from florin.payments.gateway import PaymentRow, Seen

BATCH_MAX = 50  # payments, whose rows are locked until all of them are settled
WITHIN_S = 10.0  # a batch that takes longer must not hold up those after it
_log = logging.get_logger()


class _SeenPayment(NamedTuple):
    payment: PaymentRow
    seen: Seen
    real_money: bool
    trace: str | None


class SettlementBatches:
    """Settles plain payments together."""

    def __init__(self, database: Database, fulfilment: CardFulfilment) -> None:
        self._database = database
        self._fulfilment = fulfilment
        self._batcher: Batcher[_SeenPayment, bool] = Batcher(
            self._settle, batch_max=BATCH_MAX, in_flight_max=1
        )

    async def settle(self, payment: PaymentRow, seen: Seen, *, real_money: bool) -> bool:
        """Whether the payment was settled; if not, nothing happened."""
        if seen.state != "paid" or payment.state == "paid" or seen.refunds or seen.disputes:
            return False
        item = _SeenPayment(payment, seen, real_money, current_work().to_text())
        settled = await self._batcher.submit(item)
        if settled:
            record_commit()
        return settled

    async def finish(self) -> None:
        """Wait until no batch is in flight."""
        await self._batcher.settle()

    async def _settle(self, items: list[_SeenPayment]) -> Sequence[bool]:
        # Of a payment that occurs twice, the second one finds it settled, in `settlement`.
        first: dict[UUID, _SeenPayment] = {}
        for item in items:
            first.setdefault(item.payment.id, item)
        try:
            async with self._database.transaction(within_s=WITHIN_S) as tx:
                settled = await self._settle_in(tx, first)
        except BROKEN:
            raise
        except (asyncpg.PostgresError, Refusal) as error:
            _log.info("payments are settled one by one", reason=f"{error}"[:200], count=len(items))
            settled = set[UUID]()
        return [item.payment.id in settled and first[item.payment.id] is item for item in items]

    async def _settle_in(self, tx: Tx, items: dict[UUID, _SeenPayment]) -> set[UUID]:
        """Return the payments that were settled."""
        payments = await tx.all(
            f"{LOCK_PAYMENTS} skip locked",
            [item.payment.merchant for item in items.values()],
            list(items),
        )
        plain = {
            row["orders"]: row
            for row in payments
            if row["state"] != "paid" and _agrees(row, items[row["id"]])
        }
        orders = await tx.all(
            f"{LOCK_ORDERS} skip locked", [row["merchant"] for row in plain.values()], list(plain)
        )
        waiting = {
            order["id"]: order
            for order in orders
            if order["state"] == "placed" and order["paid_by"] is None and not order["bulk"]
        }
        bought = await read_items(tx, [(row["merchant"], row["id"]) for row in waiting.values()])
        for item in bought:
            if item["card"] is not None:
                waiting.pop(item["orders"], None)
        if not waiting:
            return set()
        seen = [(plain[order], items[plain[order]["id"]].seen) for order in waiting]
        paid = await receive_in(tx, seen)
        sales = [_sale(paid[plain[order]["id"]], row, items) for order, row in waiting.items()]
        bought = [item for item in bought if item["orders"] in waiting]
        await fulfil_in(tx, self._fulfilment, sales, bought)
        for sale in sales:
            await record_fee_in(tx, sale.paid, items[sale.paid["id"]].seen)
        return set(paid)


def _agrees(row: Row, item: _SeenPayment) -> bool:
    return difference(row, item.seen, real_money=item.real_money) is None


def _sale(paid: Row, order: Row, items: dict[UUID, _SeenPayment]) -> Sale:
    item = items[paid["id"]]
    return Sale(paid, order, test=not item.seen.real_money, trace=item.trace)
