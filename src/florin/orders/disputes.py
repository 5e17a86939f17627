"""Disputes: a buyer takes a payment back through the bank; the cards stop at once.

The block is in the transaction of the dispute's row. Value that moved on to other cards is
followed. The money moves with what the gateway withholds, not with the words of its states; an
order or a refund never ends a dispute.
"""

from uuid import UUID

import msgspec

from florin.deliveries.payment_mails import About
from florin.kit import ids
from florin.kit.errors import Overloaded
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Row, Tx
from florin.ledger.following import Value, follow_in
from florin.ledger.refusals import CardClosed, CardNotActive, CardNotEmpty
from florin.orders.clawback import claw_back_in, lock_cards_in, post_cards, post_gateway
from florin.orders.events import record_dispute
from florin.orders.payment_mails import send_dispute_mails_in
from florin.payments.gateway import SeenDispute

_ENDS: dict[str, About] = {
    "won": "dispute.won", "lost": "dispute.lost", "closed": "dispute.closed",
}  # fmt: skip

# What the payment put on the cards of its order, and from which entry of each card on.
_OWN = """
with paid as (
  select t.credit_card as card, min(t.credit_sequence) as since
  from florin.gateway_posting g
  join florin.transfer t on t.merchant = g.merchant and t.id = g.transfer
  where g.merchant = $1 and g.payment = $3 and g.kind = 'sale' group by t.credit_card
)
select c.card, sum(c.amount - c.clawed)::bigint as most, coalesce(min(p.since), 0) as since
from florin.order_card c join florin.order_item i on i.merchant = c.merchant and i.id = c.item
left join paid p on p.card = c.card
where c.merchant = $1 and i.orders = $2 group by c.card order by c.card
"""
_BLOCKED = "select id from florin.account where merchant = $1 and id = any($2::uuid[]) and blocked"
_CLAIMED = """
select distinct e.card from florin.dispute d
cross join lateral jsonb_array_elements_text(d.cards) as e (card)
where d.merchant = $1 and d.state in ('open', 'lost') and d.id <> $2 and e.card = any($3::text[])
"""
# Owed to the buyer is what was received, less the refunds.
_RETURNED = """
update florin.payment p set refunded = p.refunded + h.held
from (select z.id, least($3::bigint, z.received - z.refunded) as held from florin.payment z
  where z.merchant = $1 and z.id = $2) h
where p.merchant = $1 and p.id = h.id returning h.held
"""
_INSERT = """
insert into florin.dispute (merchant, id, payment, gateway_ref, kind, state, amount, currency,
  cards, due_at, created_at)
values ($1, $2, $3, $4, $5, 'open', $6, $7, $8::text::jsonb, $9, clock($1))
"""


async def sync_disputes_in(
    tx: Tx, payment: Row, seen: tuple[SeenDispute, ...], *, has_cards: bool, actor: str
) -> None:
    """Bring the disputes of a locked payment to what the gateway says."""
    for each in seen:
        row = await _find(tx, payment, each.ref)
        if row is None:
            await _open(tx, payment, each, has_cards=has_cards, actor=actor)
            row = await _find(tx, payment, each.ref)
        assert row is not None
        await _update(tx, payment, row, each, has_cards=has_cards, actor=actor)


async def _find(tx: Tx, payment: Row, ref: str) -> Row | None:
    return await tx.one(
        "select * from florin.dispute where merchant = $1 and payment = $2 and gateway_ref = $3"
        " for no key update",
        payment["merchant"],
        payment["id"],
        ref,
    )


async def _open(tx: Tx, payment: Row, seen: SeenDispute, *, has_cards: bool, actor: str) -> None:
    merchant, dispute = payment["merchant"], ids.new_id()
    cards = await _block(tx, payment, dispute, actor=actor) if has_cards else []
    shown = json_text([ids.show_id("crd", card) for card in cards])
    await tx.run(
        _INSERT, merchant, dispute, payment["id"], seen.ref, seen.kind, seen.amount,
        payment["received_currency"], shown, seen.due_at,
    )  # fmt: skip
    await record_dispute(tx, merchant, dispute, "dispute.opened", actor)
    await send_dispute_mails_in(tx, merchant, dispute, "dispute.opened")


async def _block(tx: Tx, payment: Row, dispute: UUID, *, actor: str) -> list[UUID]:
    """Block the cards of an order, and those that its value reached; return the cards that stay
    blocked until this dispute ends. A card that a member blocked is not one of them; a card that
    another dispute blocked is, as that one may end first.
    """
    merchant = payment["merchant"]
    own, followed, _ = await _lock_lineage(tx, payment, actor=actor)
    cards = sorted({*own, *(each.card for each in followed)})
    blocked = {row["id"] for row in await tx.all(_BLOCKED, merchant, cards)}
    claimed = blocked & await _claimed_in(tx, merchant, dispute, cards)
    free = [(card, None) for card in cards if card not in blocked]
    ended = (CardClosed, CardNotActive)
    rows = await post_cards(
        tx, merchant, free, payment["id"], op="block", actor=actor, unless=ended
    )  # fmt: skip
    return sorted(claimed | {row["card"] for row in rows if row["outcome"] == "ok"})


async def _claimed_in(tx: Tx, merchant: UUID, dispute: UUID, cards: list[UUID]) -> set[UUID]:
    """Which of the cards, which are locked, other disputes keep blocked."""
    shown = {ids.show_id("crd", card): card for card in cards}
    rows = await tx.all(_CLAIMED, merchant, dispute, list(shown))
    return {shown[row["card"]] for row in rows}


async def _lock_lineage(
    tx: Tx, payment: Row, *, actor: str
) -> tuple[list[UUID], list[Value], dict[UUID, int]]:
    """The cards of the order, and those that their value reached, all locked, and what could be
    taken of each.
    """
    own, followed = await _lineage(tx, payment)
    locked = {*own, *(each.card for each in followed)}
    free = await lock_cards_in(tx, payment["merchant"], locked, payment["id"], actor)
    own, followed = await _lineage(tx, payment)
    if not locked.issuperset(each.card for each in followed):
        raise Overloaded("the value of a disputed card moved on meanwhile; repeat the request")
    return own, followed, free


async def _lineage(tx: Tx, payment: Row) -> tuple[list[UUID], list[Value]]:
    rows = await tx.all(_OWN, payment["merchant"], payment["orders"], payment["id"])
    own = [Value(row["card"], row["most"], row["since"]) for row in rows]
    return [each.card for each in own], await follow_in(tx, payment["merchant"], own)


async def _update(
    tx: Tx, payment: Row, row: Row, seen: SeenDispute, *, has_cards: bool, actor: str
) -> None:
    if row["state"] != "open" and seen.state == "open":
        return  # a look from before it ended, whose money is not what is withheld now
    merchant, currency = payment["merchant"], row["currency"]
    more = seen.withdrawn - row["withdrawn"]
    if more:
        kind = "dispute" if more > 0 else "dispute_won"
        await post_gateway(tx, merchant, kind, currency, abs(more), payment["id"], actor=actor)
        await tx.run(
            "update florin.dispute set withdrawn = $3 where merchant = $1 and id = $2",
            merchant,
            row["id"],
            seen.withdrawn,
        )
    if seen.kind != row["kind"] or seen.due_at != row["due_at"]:
        await tx.run(
            "update florin.dispute set kind = $3, due_at = $4 where merchant = $1 and id = $2",
            merchant, row["id"], seen.kind, seen.due_at,
        )  # fmt: skip
    if seen.state in {"open", row["state"]} or row["state"] != "open":
        return
    clawed = loss = 0
    if seen.state == "lost":
        clawed, loss = await _bear(tx, payment, seen.withdrawn, has_cards=has_cards, actor=actor)
    else:
        await _unblock(tx, payment, row, actor=actor)
    await tx.run(
        "update florin.dispute set state = $3, clawed = $4, loss = $5,"
        " resolved_at = clock(merchant) where merchant = $1 and id = $2",
        merchant, row["id"], seen.state, clawed, loss,
    )  # fmt: skip
    about = _ENDS[seen.state]
    await record_dispute(tx, merchant, row["id"], about, actor)
    await send_dispute_mails_in(tx, merchant, row["id"], about)


async def _bear(
    tx: Tx, payment: Row, withdrawn: int, *, has_cards: bool, actor: str
) -> tuple[int, int]:
    """A lost dispute: seize what is left, on cards that value moved to as well, and bear the rest;
    return both amounts. An empty card is closed.
    """
    left = withdrawn
    if has_cards:
        left -= await _seize(tx, payment, withdrawn, actor=actor)
    clawed = withdrawn - left
    if not has_cards:
        left -= await _return_receipt(tx, payment, withdrawn, actor=actor)
    await post_gateway(
        tx, payment["merchant"], "chargeback_loss", payment["received_currency"], left,
        payment["id"], actor=actor,
    )  # fmt: skip
    return clawed, left


async def _seize(tx: Tx, payment: Row, withdrawn: int, *, actor: str) -> int:
    """Take what was withdrawn from the cards, as far as it is there; return how much."""
    merchant, left = payment["merchant"], withdrawn
    own, followed, free = await _lock_lineage(tx, payment, actor=actor)
    taken = await claw_back_in(
        tx, merchant, payment["orders"], payment["id"], left, op="seize", actor=actor
    )
    left -= sum(each.amount for each in taken)
    wanted: list[tuple[UUID, int | None]] = []
    for each in followed:
        most = min(left, each.most, free[each.card])
        if most > 0:
            left -= most
            wanted.append((each.card, most))
    await post_cards(tx, merchant, wanted, payment["id"], op="seize", actor=actor)
    # One that is not empty holds money of another order, and stays blocked.
    await post_cards(
        tx, merchant, [(card, None) for card in own], payment["id"],
        op="close", actor=actor, unless=CardNotEmpty,
    )  # fmt: skip
    return withdrawn - left


async def _return_receipt(tx: Tx, payment: Row, withdrawn: int, *, actor: str) -> int:
    """Money that bought no cards, and is owed to its buyer, came back by the lost dispute; return
    how much of it. What refunds return besides is borne.
    """
    held = await tx.value(_RETURNED, payment["merchant"], payment["id"], withdrawn)
    await post_gateway(
        tx, payment["merchant"], "receipt_disputed", payment["received_currency"], held,
        payment["id"], actor=actor,
    )  # fmt: skip
    return int(held)


async def _unblock(tx: Tx, payment: Row, row: Row, *, actor: str) -> None:
    """Unblock the cards that this dispute blocked, unless another one stands against them."""
    merchant = row["merchant"]
    shown = msgspec.json.decode(row["cards"], type=list[str])
    cards = sorted(uuid for each in shown if (uuid := ids.parse_id("crd", each)) is not None)
    # First locked, then compared: a dispute of another payment may claim them at the same time.
    await lock_cards_in(tx, merchant, cards, payment["id"], actor)
    kept = await _claimed_in(tx, merchant, row["id"], cards)
    free = [(card, None) for card in cards if card not in kept]
    await post_cards(
        tx, merchant, free, payment["id"], op="unblock", actor=actor, unless=CardClosed
    )  # fmt: skip
