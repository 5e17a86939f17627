"""Events of orders, payments, refunds and disputes: each records its whole object."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.postgres.database import Tx
from florin.orders.order import Order, find_order
from florin.payments.payment import Payment, find_dispute, find_payment, find_refund


class NewEvent(NamedTuple):
    """An event to record: what happened to the noun, which is the object as it is now."""

    kind: str
    noun_id: UUID
    noun: msgspec.Struct


def order_event(kind: str, order: UUID, noun: Order) -> NewEvent:
    """Events are kept for ever, so they name no buyer, no recipient and no address to pay at."""
    items = [msgspec.structs.replace(each, recipient=None, message=None) for each in noun.items]
    shown = msgspec.structs.replace(noun, buyer=None, items=items, pay_url=None, metadata={})
    return NewEvent(kind, order, shown)


def payment_event(kind: str, payment: UUID, noun: Payment) -> NewEvent:
    return NewEvent(kind, payment, msgspec.structs.replace(noun, url=None))


async def record_order(tx: Tx, merchant: UUID, order: UUID, kind: str, actor: str) -> None:
    noun = await find_order(tx, merchant, order)
    await record_events(tx, merchant, [order_event(kind, order, noun)], actor)


async def record_payment(tx: Tx, merchant: UUID, payment: UUID, kind: str, actor: str) -> None:
    noun = await find_payment(tx, merchant, ids.show_id("pay", payment))
    await record_events(tx, merchant, [payment_event(kind, payment, noun)], actor)


async def record_refund(tx: Tx, merchant: UUID, refund: UUID, kind: str, actor: str) -> None:
    noun = await find_refund(tx, merchant, ids.show_id("prf", refund))
    await record_events(tx, merchant, [NewEvent(kind, refund, noun)], actor)


async def record_dispute(tx: Tx, merchant: UUID, dispute: UUID, kind: str, actor: str) -> None:
    noun = await find_dispute(tx, merchant, ids.show_id("dsp", dispute))
    await record_events(tx, merchant, [NewEvent(kind, dispute, noun)], actor)


async def record_events(tx: Tx, merchant: UUID, events: Sequence[NewEvent], actor: str) -> None:
    """Record events of a merchant in their order, in one statement."""
    await tx.run(
        "select record_events($1, $2, $3, $4, $5::text[]::jsonb[], $6)",
        merchant,
        [ids.new_id() for _ in events],
        [each.kind for each in events],
        [each.noun_id for each in events],
        [msgspec.json.encode(each.noun).decode() for each in events],
        actor,
    )
