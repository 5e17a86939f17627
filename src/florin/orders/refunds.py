"""Refunds: return money of a payment to its buyer.

What the buyer gets back is taken from the cards first, and committed, before the gateway is asked:
a card can never be spent and refunded. If the gateway refuses, the value goes back to the cards.
"""

from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound, Refusal
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Row, Tx
from florin.kit.queue.enqueue import enqueue
from florin.orders.clawback import Clawed, claw_back_in, give_back_in, post_gateway
from florin.orders.events import record_refund
from florin.orders.payment_mails import send_refund_mail_in
from florin.payments.gateway import SeenRefund
from florin.payments.jobs import refund_job
from florin.payments.payment import DISPUTED

_STATE = "select state from florin.orders where merchant = $1 and id = $2"
_INSERT = """
insert into florin.payment_refund (merchant, id, payment, state, amount, currency, clawed, loss,
  cards, gateway_ref, reason, actor, adopted, due_at, created_at)
values ($1, $2, $3, 'asked', $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11, $12,
  case when $12 then null else clock_timestamp() + interval '30 seconds' end, clock($1))
"""
_COUNT = "update florin.payment set refunded = refunded + $3 where merchant = $1 and id = $2"
# First a surplus whose refund failed, unless it is disputed: the gateway decides about it then.
_WITH_MONEY = f"""
select p.*, o.paid_by from florin.payment p
join florin.orders o on o.merchant = p.merchant and o.id = p.orders
where p.merchant = $1 and p.orders = $2 and p.state = 'paid'
order by not $3 and p.surplus and p.received > p.refunded and not {DISPUTED} desc,
  p.id = o.paid_by desc nulls last, p.received > p.refunded desc, p.id limit 1
for no key update of p
"""  # noqa: S608 -- our own text
_OF_PAYMENT = """
select * from florin.payment_refund where merchant = $1 and payment = $2
  and (id = $3 or gateway_ref = $4) for no key update
"""


class RefundExceedsUnspent(Refusal):
    """More than what is unspent on the cards; an owner can refund it all the same, as a loss."""

    code = "refund_exceeds_unspent"
    status = 402


class RefundExceedsPayment(Refusal):
    """The refunds would exceed the payment."""

    code = "refund_exceeds_payment"
    status = 402


class OrderNotPaid(Refusal):
    """The order is not paid."""

    code = "order_not_paid"
    status = 402


class PaymentDisputed(Refusal):
    """The payment is disputed: the gateway decides about its money."""

    code = "payment_disputed"
    status = 402


class OrderInProgress(Refusal):
    """The cards of this order are being issued: repeat the request once it is fulfilled."""

    code = "order_in_progress"
    status = 409


class RefundPlan(msgspec.Struct, kw_only=True):
    """A refund that is asked for. `beyond_unspent`: the merchant bears what the cards lack.
    `of_cards`: of the payment that bought the cards, also if money was received twice.
    """

    amount: int | None
    beyond_unspent: bool
    reason: str | None
    actor: str
    of_cards: bool = False


async def begin_refund_in(
    tx: Tx, merchant: UUID, order: UUID, plan: RefundPlan, *, refund: UUID
) -> None:
    """Take the value from the cards and record the refund; the gateway is asked after the commit.

    Raises NotFound, OrderNotPaid, PaymentDisputed, RefundExceedsPayment, RefundExceedsUnspent,
    Overloaded.
    """
    payment = await _locked_paid(tx, merchant, order, of_cards=plan.of_cards)
    currency, left = payment["received_currency"], payment["received"] - payment["refunded"]
    if plan.amount is not None and plan.amount > left:
        detail = f"{left} of the payment can still be refunded, not {plan.amount}"
        raise RefundExceedsPayment(detail, param="amount", extra={"refundable": left})
    has_cards = payment["paid_by"] == payment["id"]
    clawed: list[Clawed] = []
    if has_cards:
        clawed = await claw_back_in(
            tx,
            merchant,
            order,
            payment["id"],
            left if plan.amount is None else plan.amount,
            op="clawback",
            actor=plan.actor,
        )
    unspent = sum(each.amount for each in clawed) if has_cards else left
    amount = (left if plan.beyond_unspent else unspent) if plan.amount is None else plan.amount
    if amount == 0 and left == 0:
        raise RefundExceedsPayment("everything was refunded", extra={"refundable": 0})
    if amount == 0 or (amount > unspent and not plan.beyond_unspent):
        detail = f"{unspent} is unspent; an owner can refund more with beyond_unspent and a reason"
        raise RefundExceedsUnspent(detail, param="amount", extra={"unspent": unspent})
    loss = amount - unspent if has_cards and amount > unspent else 0
    await post_gateway(
        tx, merchant, "refund_loss", currency, loss, payment["id"],
        actor=plan.actor, reason=plan.reason,
    )  # fmt: skip
    await insert_refund_in(
        tx, merchant, payment["id"], refund, amount, currency, clawed,
        loss=loss, reason=plan.reason, actor=plan.actor,
    )  # fmt: skip


async def insert_refund_in(
    tx: Tx,
    merchant: UUID,
    payment: UUID,
    refund: UUID,
    amount: int,
    currency: str,
    clawed: list[Clawed],
    *,
    loss: int,
    reason: str | None,
    actor: str,
    gateway_ref: str | None = None,
    adopted: bool = False,
) -> None:
    """Record a refund; one of Florin's own is sent to the gateway by a job, if not before."""
    cards = [msgspec.to_builtins(each) for each in clawed]
    await tx.run(
        _INSERT,
        merchant,
        refund,
        payment,
        amount,
        currency,
        sum(each.amount for each in clawed),
        loss,
        json_text(cards),
        gateway_ref,
        reason,
        actor,
        adopted,
    )
    await tx.run(_COUNT, merchant, payment, amount)
    await record_refund(tx, merchant, refund, "payment_refund.asked", actor)
    if not adopted:
        await enqueue(tx, refund_job(merchant, refund))


async def sync_refunds_in(
    tx: Tx, payment: Row, seen: tuple[SeenRefund, ...], *, has_cards: bool, actor: str
) -> None:
    """Bring the refunds of a locked payment to what the gateway says; adopt those that were made at
    the gateway. Each is booked once, by its id.
    """
    merchant = payment["merchant"]
    for each in seen:
        row = await tx.one(_OF_PAYMENT, merchant, payment["id"], each.ours, each.ref)
        if row is None and each.state == "failed":
            continue
        if row is None:
            refund = await _adopt(tx, payment, each, has_cards=has_cards, actor=actor)
            row = await tx.one(_OF_PAYMENT, merchant, payment["id"], refund, each.ref)
        assert row is not None
        await resolve_refund_in(tx, row, each, actor=actor)


async def resolve_refund_in(tx: Tx, row: Row, seen: SeenRefund, *, actor: str) -> None:
    """Record the end of a locked refund: done, or failed with the value given back."""
    merchant, refund, payment = row["merchant"], row["id"], row["payment"]
    if row["gateway_ref"] is None:
        await tx.run(
            "update florin.payment_refund set gateway_ref = $3 where merchant = $1 and id = $2",
            merchant,
            refund,
            seen.ref or None,
        )
    # A refund that was done may still fail weeks later: the money came back.
    if seen.state == "pending" or row["state"] == seen.state or row["state"] == "failed":
        return
    if seen.state == "done":
        await post_gateway(
            tx, merchant, "gateway_refund", row["currency"], row["amount"], payment, actor=actor
        )
    else:
        await _undo(tx, row, actor=actor)
    await tx.run(
        "update florin.payment_refund set state = $3, failure = $4, due_at = null,"
        " resolved_at = clock(merchant) where merchant = $1 and id = $2",
        merchant,
        refund,
        seen.state,
        seen.failure,
    )
    await record_refund(tx, merchant, refund, f"payment_refund.{seen.state}", actor)
    if seen.state == "done":
        await send_refund_mail_in(tx, row)


async def _undo(tx: Tx, row: Row, *, actor: str) -> None:
    merchant, payment = row["merchant"], row["payment"]
    if row["state"] == "done":
        await post_gateway(
            tx, merchant, "refund_returned", row["currency"], row["amount"], payment, actor=actor
        )
    clawed = msgspec.json.decode(row["cards"], type=list[Clawed])
    await give_back_in(tx, merchant, payment, clawed, actor=actor)
    await post_gateway(
        tx, merchant, "refund_loss_undone", row["currency"], row["loss"], payment, actor=actor
    )
    await tx.run(_COUNT, merchant, payment, -row["amount"])


async def _adopt(tx: Tx, payment: Row, seen: SeenRefund, *, has_cards: bool, actor: str) -> UUID:
    """A refund made at the gateway: take what is left from the cards, bear the rest."""
    merchant, refund = payment["merchant"], ids.new_id()
    clawed: list[Clawed] = []
    loss = 0
    if has_cards:
        clawed = await claw_back_in(
            tx, merchant, payment["orders"], payment["id"], seen.amount, op="clawback", actor=actor
        )
        loss = seen.amount - sum(each.amount for each in clawed)
    await post_gateway(
        tx, merchant, "refund_loss", payment["received_currency"], loss, payment["id"], actor=actor
    )
    await insert_refund_in(
        tx, merchant, payment["id"], refund, seen.amount, payment["received_currency"], clawed,
        loss=loss, reason="made at the gateway", actor=actor, gateway_ref=seen.ref, adopted=True,
    )  # fmt: skip
    return refund


async def _locked_paid(tx: Tx, merchant: UUID, order: UUID, *, of_cards: bool) -> Row:
    """The payment of an order that has money, locked: a surplus, then the one that bought cards,
    then one that was not returned. Raises NotFound, OrderNotPaid, PaymentDisputed.
    """
    found = await tx.one(_STATE, merchant, order)
    if found is None:
        raise NotFound
    row = await tx.one(_WITH_MONEY, merchant, order, of_cards)
    if row is None:
        raise OrderNotPaid
    found = await tx.one(_STATE, merchant, order)
    if found is not None and found["state"] == "paid":
        raise OrderInProgress
    # A statement of its own: it sees what was committed while this one waited for the lock.
    if await tx.one(
        "select id from florin.dispute where merchant = $1 and payment = $2"
        " and state in ('open', 'lost') limit 1",
        merchant,
        row["id"],
    ):
        raise PaymentDisputed
    return row
