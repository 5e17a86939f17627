"""Clawback: take back what is left of a paid order on its cards, and give it back.

Cards are locked in the order of their ids, as every call of the ledger does, so that no two
transactions wait for each other.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import Refusal
from florin.kit.postgres.database import Row, Tx
from florin.ledger.post import Posting, post_rows_in
from florin.ledger.refusals import BY_OUTCOME
from florin.orders.fulfilment import CARD_WAIT_MS

PART = 100  # cards of one call of the ledger, whose time grows with their square

_CARDS = """
select c.item, c.position, c.card, c.amount - c.clawed as left
from florin.order_card c join florin.order_item i on i.merchant = c.merchant and i.id = c.item
where c.merchant = $1 and i.orders = $2 and c.amount > c.clawed
order by c.card, c.item, c.position for no key update of c
"""
_TAKEN = """
update florin.order_card c set clawed = c.clawed + u.taken
from unnest($2::uuid[], $3::smallint[], $4::bigint[]) as u (item, position, taken)
where c.merchant = $1 and c.item = u.item and c.position = u.position
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
    rows = await tx.all(_CARDS, merchant, order)
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        free = await lock_cards_in(tx, merchant, {row["card"] for row in part}, payment, actor)
        taken: list[Clawed] = []
        for row in part:
            wanted = row["left"] if amount is None else min(row["left"], amount)
            wanted = min(wanted, free[row["card"]])
            if wanted < 1:
                continue
            free[row["card"]] -= wanted
            if amount is not None:
                amount -= wanted
            taken.append(
                Clawed(item=row["item"], position=row["position"], card=row["card"], amount=wanted)
            )
        wanted_of = [(each.card, each.amount) for each in taken]
        await post_cards(tx, merchant, wanted_of, payment, op=op, actor=actor)
        await _record_taken(tx, merchant, taken)
        clawed += taken
        if amount == 0:
            break
    return clawed


async def _record_taken(tx: Tx, merchant: UUID, taken: Sequence[Clawed]) -> None:
    await tx.run(
        _TAKEN,
        merchant,
        [each.item for each in taken],
        [each.position for each in taken],
        [each.amount for each in taken],
    )


async def give_back_in(
    tx: Tx, merchant: UUID, payment: UUID, clawed: list[Clawed], *, actor: str
) -> None:
    """Put back on the cards what was taken for a refund that failed."""
    wanted = sorted((each.card, each.amount) for each in clawed)
    await post_cards(tx, merchant, wanted, payment, op="giveback", actor=actor)
    back = [msgspec.structs.replace(each, amount=-each.amount) for each in clawed]
    await _record_taken(tx, merchant, back)


async def lock_cards_in(
    tx: Tx, merchant: UUID, cards: Iterable[UUID], payment: UUID, actor: str
) -> dict[UUID, int]:
    """Lock cards until the transaction ends; return what could be taken of each. Raises Overloaded.

    A seizure that is only simulated locks its card, as the application may not lock it by itself.
    """
    wanted = [(card, None) for card in sorted(set(cards))]
    rows = await post_cards(
        tx, merchant, wanted, payment, op="seize", actor=actor, simulate=True
    )  # fmt: skip
    return {row["card"]: row["amount"] for row in rows}


async def post_cards(
    tx: Tx,
    merchant: UUID,
    wanted: Sequence[tuple[UUID, int | None]],
    payment: UUID,
    *,
    op: str,
    actor: str,
    unless: type[Refusal] | tuple[type[Refusal], ...] = (),
    simulate: bool = False,
) -> list[Row]:
    """Post one operation of cards, in the order of their ids, each with its amount; return what the
    ledger answered. Raises Overloaded, and the refusals of the ledger but those in `unless`.
    """
    found: list[Row] = []
    for start in range(0, len(wanted), PART):
        found += await post_rows_in(
            tx,
            [
                Posting(
                    merchant=merchant,
                    op=op,
                    card=card,
                    amount=amount,
                    reference=ids.show_id("pay", payment),
                    actor=actor,
                    simulate=simulate,
                    client=None,
                )
                for card, amount in wanted[start : start + PART]
            ],
            lock_timeout_ms=CARD_WAIT_MS,
        )
    for row in found:
        if row["outcome"] != "ok" and not issubclass(BY_OUTCOME[row["outcome"]], unless):
            raise BY_OUTCOME[row["outcome"]]
    return found


async def post_card(
    tx: Tx, merchant: UUID, card: UUID, payment: UUID, amount: int | None, *, op: str, actor: str
) -> int:
    """Post one operation of one card; return the amount that it moved. Raises as post_cards."""
    [row] = await post_cards(tx, merchant, [(card, amount)], payment, op=op, actor=actor)
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
