"""Clawback: take back what is left of a paid order on its cards, and give it back.

Cards are locked one after another in the order of their ids, as every call of the ledger does, so
that no two transactions wait for each other.
"""

from typing import Any
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.postgres.database import Tx
from florin.ledger.post import Posting, post_rows_in
from florin.ledger.refusals import BY_OUTCOME
from florin.orders.fulfilment import CARD_WAIT_MS

_CARDS = """
select c.item, c.position, c.card, c.amount - c.clawed as left
from florin.order_card c join florin.order_item i on i.merchant = c.merchant and i.id = c.item
where c.merchant = $1 and i.orders = $2 and c.amount > c.clawed
order by c.card, c.item, c.position for no key update of c
"""
_TAKEN = """
update florin.order_card set clawed = clawed + $4
where merchant = $1 and item = $2 and position = $3
"""


class Clawed(msgspec.Struct, kw_only=True):
    """What was taken from one card of an order."""

    item: UUID
    position: int
    card: UUID
    amount: int


async def claw_back_in(
    tx: Tx, merchant: UUID, order: UUID, payment: UUID, amount: int | None, *, op: str, actor: str
) -> list[Clawed]:
    """Take up to `amount` (None: all) of what the order put on its cards and is still unspent. With
    `clawback` it is then owed to the buyer, with `seize` it covers a lost dispute.
    """
    clawed: list[Clawed] = []
    for row in await tx.all(_CARDS, merchant, order):
        wanted = row["left"] if amount is None else min(row["left"], amount)
        if wanted < 1:
            break
        taken = await post_card(tx, merchant, row["card"], payment, wanted, op=op, actor=actor)
        if taken:
            await tx.run(_TAKEN, merchant, row["item"], row["position"], taken)
            clawed.append(
                Clawed(item=row["item"], position=row["position"], card=row["card"], amount=taken)
            )
        if amount is not None:
            amount -= taken
    return clawed


async def give_back_in(
    tx: Tx, merchant: UUID, payment: UUID, clawed: list[Clawed], *, actor: str
) -> None:
    """Put back on the cards what was taken for a refund that failed."""
    for each in sorted(clawed, key=lambda each: each.card):
        await post_card(tx, merchant, each.card, payment, each.amount, op="giveback", actor=actor)
        await tx.run(_TAKEN, merchant, each.item, each.position, -each.amount)


async def post_card(
    tx: Tx, merchant: UUID, card: UUID, payment: UUID, amount: int | None, *, op: str, actor: str
) -> int:
    """Post one operation of one card; return the amount that it moved. Raises Overloaded, and the
    refusals of the ledger.
    """
    [row] = await post_rows_in(
        tx,
        [
            Posting(
                merchant=merchant,
                op=op,
                card=card,
                amount=amount,
                reference=ids.show_id("pay", payment),
                actor=actor,
                client=None,
            )
        ],
        lock_timeout_ms=CARD_WAIT_MS,
    )
    if row["outcome"] != "ok":
        raise BY_OUTCOME[row["outcome"]]
    moved: int | None = row["amount"]
    return moved or 0


async def post_gateway(
    tx: Tx,
    merchant: UUID,
    kind: str,
    currency: str,
    amount: int,
    payment: UUID,
    *,
    actor: str,
    reason: str | None = None,
) -> None:
    """Move money between accounts without a card; `kind`: see `gateway_postings.sql`."""
    if amount:
        arguments: list[Any] = [merchant, ids.new_id(), kind, currency, amount, payment]
        await tx.run(
            "select post_gateway($1, $2, $3, $4, $5, $6, $7, $8)", *arguments, actor, reason
        )
