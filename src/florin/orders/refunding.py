"""Refunding: refund an order, and take it back within the period of withdrawal."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from florin.kit import ids
from florin.kit.errors import NotFound, Overloaded, Refusal
from florin.kit.http.body import fingerprint
from florin.kit.observability import logging
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.idempotency import claim_key
from florin.merchants.law.withdrawal import GRANTED_DAYS, end_of_withdrawal
from florin.orders.checkout import Checkout
from florin.orders.events import record_order
from florin.orders.looking import PaymentLooker
from florin.orders.payment_mails import send_withdrawal_mail_in
from florin.orders.refunds import RefundExceedsPayment, RefundExceedsUnspent, RefundPlan
from florin.orders.refunds import begin_refund_in as begin
from florin.payments.gateway import GatewayUnavailable
from florin.payments.payment import PaymentRefund, find_refund

ATTEMPTS = 5
_PAID = """
select o.withdrawn_at, o.paid_at, m.timezone, clock(m.id) as now
from florin.orders o join florin.merchant m on m.id = o.merchant
where o.merchant = $1 and o.id = $2
"""
Result = TypeVar("Result")
_log = logging.get_logger()


class WithdrawalPeriodOver(Refusal):
    """The period of withdrawal is over: 14 days after the order was paid, to the end of the day."""

    code = "withdrawal_period_over"
    status = 402


async def refund_order(
    database: Database,
    looker: PaymentLooker,
    merchant: UUID,
    order: UUID,
    plan: RefundPlan,
    *,
    key: str | None,
) -> tuple[PaymentRefund, bool]:
    """Refund an order; return the refund as it is after the gateway was asked, and whether it is a
    repetition. A gateway that does not answer is asked again by a job: the refund stays `asked`.
    """
    refund = ids.new_id()

    async def begin_once(tx: Tx) -> UUID:
        first = refund
        if key is not None:
            first = await claim_key(
                tx,
                merchant=merchant,
                key=key,
                operation="refund-order",
                fingerprint=fingerprint(
                    "refund-order", order.hex, plan.amount, plan.beyond_unspent, plan.reason
                ),
                noun=refund,
            )
        if first == refund:
            await begin(tx, merchant, order, plan, refund=refund)
        return first

    first = await repeat_while_busy(database, begin_once)
    if first == refund:
        await _send(looker, merchant, refund)
    return await find_refund(database, merchant, ids.show_id("prf", first)), first != refund


async def withdraw_order(
    database: Database,
    looker: PaymentLooker,
    checkout: Checkout,
    merchant: UUID,
    order: UUID,
    actor: str,
) -> None:
    """Withdraw from an order: cancelled if it is not paid, else what is unspent is refunded. Done
    already is no error. Raises NotFound, WithdrawalPeriodOver, PaymentDisputed.
    """
    row = await database.one(_PAID, merchant, order)
    if row is None:
        raise NotFound
    if row["paid_at"] is None:
        await checkout.cancel_order(merchant, order, actor)
        return
    if row["withdrawn_at"] is not None:
        return
    until = end_of_withdrawal(row["paid_at"], row["timezone"], GRANTED_DAYS)
    if row["now"] >= until:
        raise WithdrawalPeriodOver
    refund = ids.new_id()
    plan = RefundPlan(
        amount=None, beyond_unspent=False, reason="withdrawal", actor=actor, of_cards=True
    )

    async def withdraw(tx: Tx) -> None:
        status = await tx.run(
            "update florin.orders set withdrawn_at = clock(merchant)"
            " where merchant = $1 and id = $2 and withdrawn_at is null",
            merchant,
            order,
        )
        if not status.endswith(" 0"):
            await record_order(tx, merchant, order, "order.withdrawn", actor)
            await send_withdrawal_mail_in(tx, merchant, order, refund)

    async def withdraw_and_refund(tx: Tx) -> None:
        await begin(tx, merchant, order, plan, refund=refund)  # payment before order
        await withdraw(tx)

    try:
        await repeat_while_busy(database, withdraw_and_refund)
    except (RefundExceedsUnspent, RefundExceedsPayment):  # nothing is left to return
        await repeat_while_busy(database, withdraw)
        return
    await _send(looker, merchant, refund)


async def _send(looker: PaymentLooker, merchant: UUID, refund: UUID) -> None:
    try:
        await looker.send_refund(merchant, refund)
    except GatewayUnavailable as error:
        _log.warning("gateway unavailable", reason=str(error)[:200])


async def repeat_while_busy(database: Database, run: Callable[[Tx], Awaitable[Result]]) -> Result:
    """Run a transaction again while a card that it needs is used by others. Raises Overloaded."""
    for attempt in range(ATTEMPTS):
        try:
            async with database.transaction() as tx:
                return await run(tx)
        except Overloaded:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.05 * (attempt + 1))
    raise AssertionError("unreachable")
