"""Disputes: a buyer takes a payment back through the bank; the cards stop at once.

The block is in the transaction of the dispute's row. Value that moved on to other cards is
followed. The money moves with what the gateway withholds, not with the words of its states; an
order or a refund never ends a dispute.
"""

import msgspec

from florin.deliveries.payment_mails import About
from florin.kit import ids
from florin.kit.errors import Refusal
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Row, Tx
from florin.ledger.refusals import CardClosed, CardNotActive, CardNotEmpty
from florin.orders.clawback import claw_back_in, post_card, post_gateway
from florin.orders.events import record_dispute
from florin.orders.payment_mails import send_dispute_mails_in
from florin.payments.gateway import SeenDispute

FOLLOWED_MAX = 100  # cards
_ENDS: dict[str, About] = {
    "won": "dispute.won",
    "lost": "dispute.lost",
    "closed": "dispute.closed",
}

# Value of the order's cards that was transferred on, oldest first; `limit` bounds what of a card's
# balance can have come from the disputed money.
_LINEAGE = """
with recursive own as (
  select c.card, sum(c.amount - c.clawed)::bigint as most
  from florin.order_card c join florin.order_item i on i.merchant = c.merchant and i.id = c.item
  where c.merchant = $1 and i.orders = $2 group by c.card
), moved as (
  select o.card, o.most, 0 as depth from own o
  union all
  select t.credit_card, least(t.amount, m.most), m.depth + 1
  from moved m join florin.transfer t on t.merchant = $1 and t.debit_card = m.card
    and t.kind = 'transfer'
  where m.depth < 5
)
select m.card, max(m.most)::bigint as most, min(m.depth) as depth, bool_or(a.blocked) as blocked
from moved m join florin.account a on a.merchant = $1 and a.id = m.card
group by m.card order by m.card limit $3
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
    blocked: list[str] = []
    if has_cards:
        for row in await tx.all(_LINEAGE, merchant, payment["orders"], FOLLOWED_MAX):
            if row["blocked"]:
                continue  # by a member, or by another dispute: this one does not unblock it
            try:
                await post_card(
                    tx, merchant, row["card"], payment["id"], None, op="block", actor=actor
                )
            except (CardClosed, CardNotActive):
                continue
            blocked.append(ids.show_id("crd", row["card"]))
    await tx.run(
        _INSERT,
        merchant,
        dispute,
        payment["id"],
        seen.ref,
        seen.kind,
        seen.amount,
        payment["received_currency"],
        json_text(blocked),
        seen.due_at,
    )
    await record_dispute(tx, merchant, dispute, "dispute.opened", actor)
    await send_dispute_mails_in(tx, merchant, dispute, "dispute.opened")


async def _update(
    tx: Tx, payment: Row, row: Row, seen: SeenDispute, *, has_cards: bool, actor: str
) -> None:
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
            merchant,
            row["id"],
            seen.kind,
            seen.due_at,
        )
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
        merchant,
        row["id"],
        seen.state,
        clawed,
        loss,
    )
    about = _ENDS[seen.state]
    await record_dispute(tx, merchant, row["id"], about, actor)
    await send_dispute_mails_in(tx, merchant, row["id"], about)


async def _bear(
    tx: Tx, payment: Row, withdrawn: int, *, has_cards: bool, actor: str
) -> tuple[int, int]:
    """A lost dispute: seize what is left, on cards that value moved to as well, and bear the rest;
    return both amounts. An empty card is closed.
    """
    merchant, left = payment["merchant"], withdrawn
    if not has_cards:
        await post_gateway(
            tx, merchant, "chargeback_loss", payment["received_currency"], left, payment["id"],
            actor=actor,
        )  # fmt: skip
        return 0, left
    lineage = await tx.all(_LINEAGE, merchant, payment["orders"], FOLLOWED_MAX)
    taken = await claw_back_in(
        tx, merchant, payment["orders"], payment["id"], left, op="seize", actor=actor
    )
    left -= sum(each.amount for each in taken)
    for row in lineage:
        most = min(left, row["most"])
        if row["depth"] > 0 and most > 0:
            left -= await post_card(
                tx, merchant, row["card"], payment["id"], most, op="seize", actor=actor
            )
    for row in lineage:
        if row["depth"] == 0:
            try:
                await post_card(
                    tx, merchant, row["card"], payment["id"], None, op="close", actor=actor
                )
            except CardNotEmpty:
                continue  # it holds money of another order, and stays blocked
    await post_gateway(
        tx, merchant, "chargeback_loss", payment["received_currency"], left, payment["id"],
        actor=actor,
    )  # fmt: skip
    return withdrawn - left, left


async def _unblock(tx: Tx, payment: Row, row: Row, *, actor: str) -> None:
    """Unblock the cards that this dispute blocked, unless another one stands against them."""
    others = await tx.all(
        "select cards from florin.dispute where merchant = $1 and state in ('open', 'lost')"
        " and id <> $2",
        row["merchant"],
        row["id"],
    )
    kept = {card for each in others for card in msgspec.json.decode(each["cards"], type=list[str])}
    for card in msgspec.json.decode(row["cards"], type=list[str]):
        uuid = ids.parse_id("crd", card)
        if uuid is None or card in kept:
            continue
        try:
            await post_card(
                tx, row["merchant"], uuid, payment["id"], None, op="unblock", actor=actor
            )
        except Refusal as refusal:
            if not isinstance(refusal, CardClosed):
                raise
