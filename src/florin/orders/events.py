"""Events of orders, payments, refunds and disputes: each records its whole object."""

from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.postgres.database import Tx
from florin.orders.order import find_order
from florin.payments.payment import find_dispute, find_payment, find_refund


async def record_order(tx: Tx, merchant: UUID, order: UUID, kind: str, actor: str) -> None:
    """Events are kept for ever, so they name no buyer, no recipient and no address to pay at."""
    noun = await find_order(tx, merchant, order)
    items = [msgspec.structs.replace(each, recipient=None, message=None) for each in noun.items]
    noun = msgspec.structs.replace(noun, buyer=None, items=items, pay_url=None, metadata={})
    await _record(tx, merchant, order, kind, noun, actor)


async def record_payment(tx: Tx, merchant: UUID, payment: UUID, kind: str, actor: str) -> None:
    noun = await find_payment(tx, merchant, ids.show_id("pay", payment))
    noun = msgspec.structs.replace(noun, url=None)
    await _record(tx, merchant, payment, kind, noun, actor)


async def record_refund(tx: Tx, merchant: UUID, refund: UUID, kind: str, actor: str) -> None:
    noun = await find_refund(tx, merchant, ids.show_id("prf", refund))
    await _record(tx, merchant, refund, kind, noun, actor)


async def record_dispute(tx: Tx, merchant: UUID, dispute: UUID, kind: str, actor: str) -> None:
    noun = await find_dispute(tx, merchant, ids.show_id("dsp", dispute))
    await _record(tx, merchant, dispute, kind, noun, actor)


async def _record(
    tx: Tx, merchant: UUID, noun_id: UUID, kind: str, noun: msgspec.Struct, actor: str
) -> None:
    await tx.run(
        "select record_event($1, $2, $3, $4, $5::text::jsonb, $6)",
        merchant,
        ids.new_id(),
        kind,
        noun_id,
        msgspec.json.encode(noun).decode(),
        actor,
    )
