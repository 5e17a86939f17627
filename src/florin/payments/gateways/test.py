"""Test gateway: a payment gateway of Florin's own, for development and tests; never in production.

It keeps what it knows in tables of its own (`test_payment`, `test_refund`, `test_dispute`), which
stand for the records of a real gateway: the rest of Florin learns of them by `look` only.
"""

from typing import Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound, Refusal
from florin.kit.postgres.database import Database, Row, Tx
from florin.payments.gateway import (
    GatewayRefused,
    Opened,
    PaymentRow,
    RefundRow,
    Seen,
    SeenDispute,
    SeenRefund,
)
from florin.payments.gateways.test_payments import DELAY, TestPayments
from florin.payments.page_token import page_token_hash, payment_page_token


class _TestDispute(msgspec.Struct):
    """A row of `test_dispute`."""

    ref: UUID
    amount: int
    state: Literal["open", "won", "lost"]


class TestPaymentNotPaid(Refusal):
    """The payment is not paid, or was refunded already."""

    code = "payment_not_paid"
    status = 402
    __test__ = False


class TestGateway:
    """The test gateway on the database of the installation. `pepper`: makes its pages' tokens."""

    __test__ = False  # no class of tests
    real_money = False

    def __init__(self, database: Database, *, pepper: bytes) -> None:
        self._database = database
        self.payments = TestPayments(database)
        self._pepper = pepper

    def check_amount(self, currency: str, amount: int) -> None:
        """Every currency and amount."""

    async def open(self, payment: PaymentRow) -> Opened:
        # A repetition, also one at the same time, gets the page of the first: either's address may
        # be the one that is kept.
        token = payment_page_token(self._pepper, payment.merchant, payment.id)
        await self.payments.open(payment, token)
        return Opened(reference=f"test_{payment.id.hex}", url=f"{payment.base_url}/pay/{token}")

    async def look(self, payment: PaymentRow) -> Seen:
        row = await self.payments.look(payment)
        if row is None:
            return Seen(state="open", ours=payment.id)
        paid = row["outcome"] == "paid" or (row["outcome"] == "delayed" and row["arrived"])
        seen = Seen(
            state="open", reference=f"test_{payment.id.hex}", ours=payment.id, real_money=False
        )
        if paid:
            return msgspec.structs.replace(
                seen,
                state="paid",
                capture_ref=f"tch_{payment.id.hex}",
                amount=row["amount"],
                currency=row["currency"],
                refunds=_refunds(row["refunds"]),
                disputes=_disputes(row["disputes"]),
            )
        if row["outcome"] == "declined":
            return msgspec.structs.replace(seen, state="failed", failure="declined")
        if row["outcome"] == "expired" or (row["closed"] and row["outcome"] is None):
            return msgspec.structs.replace(seen, state="expired")
        return seen if row["outcome"] is None else msgspec.structs.replace(seen, state="processing")

    async def expire(self, payment: PaymentRow) -> None:
        async with self._database.transaction() as tx:
            await tx.run(
                "update florin.test_payment set closed = true where merchant = $1 and payment = $2",
                payment.merchant,
                payment.id,
            )

    async def refund(self, payment: PaymentRow, refund: RefundRow) -> SeenRefund:
        try:
            async with self._database.transaction() as tx:
                await add_refund(tx, payment.merchant, payment.id, refund.amount, ours=refund.id)
        except TestPaymentNotPaid as refusal:
            raise GatewayRefused(refusal.detail) from refusal
        return SeenRefund(ref=refund.id.hex, amount=refund.amount, state="done", ours=refund.id)


async def find_test_payment(database: Database, token: str) -> Row:
    """The payment of a payment page. Raises NotFound."""
    row = await database.one(
        "select t.merchant, t.payment, t.outcome, t.closed, t.return_url, p.amount, p.currency,"
        " p.state, o.number, m.name from florin.test_payment t"
        " join florin.payment p on p.merchant = t.merchant and p.id = t.payment"
        " join florin.orders o on o.merchant = p.merchant and o.id = p.orders"
        " join florin.merchant m on m.id = p.merchant where t.token_hash = $1",
        page_token_hash(token),
    )
    if row is None:
        raise NotFound
    return row


async def add_refund(
    tx: Tx, merchant: UUID, payment: UUID, amount: int | None, *, ours: UUID | None = None
) -> None:
    """Refund `amount`, or what is left; `ours`: Florin's refund that asks for it.

    Raises NotFound, TestPaymentNotPaid.
    """
    row = await _locked(tx, merchant, payment)
    if ours is not None and await tx.value(
        "select true from florin.test_refund where merchant = $1 and id = $2", merchant, ours
    ):
        return  # the same key: the same refund
    taken: int = await tx.value(
        "select coalesce(sum(amount), 0)::bigint from florin.test_refund"
        " where merchant = $1 and payment = $2",
        merchant,
        payment,
    )
    left = row["amount"] - taken
    whole = left if amount is None else amount
    if not 1 <= whole <= left:
        raise TestPaymentNotPaid(f"{left} of the payment can still be refunded, not {whole}")
    await tx.run(
        "insert into florin.test_refund (merchant, id, payment, amount, ours)"
        " values ($1, $2, $3, $4, $5)",
        merchant,
        ours or ids.new_id(),
        payment,
        whole,
        ours is not None,
    )


async def add_dispute(tx: Tx, merchant: UUID, payment: UUID) -> None:
    """The buyer disputes the whole payment; once. Raises NotFound, TestPaymentNotPaid."""
    row = await _locked(tx, merchant, payment)
    if await tx.one(
        "select id from florin.test_dispute where merchant = $1 and payment = $2", merchant, payment
    ):
        return
    await tx.run(
        "insert into florin.test_dispute (merchant, id, payment, amount) values ($1, $2, $3, $4)",
        merchant,
        ids.new_id(),
        payment,
        row["amount"],
    )


async def resolve_dispute(tx: Tx, merchant: UUID, payment: UUID, state: str) -> None:
    """Win or lose the dispute. Raises NotFound, InvalidRequest without an open one."""
    await _locked(tx, merchant, payment)
    status = await tx.run(
        "update florin.test_dispute set state = $3"
        " where merchant = $1 and payment = $2 and state in ('open', $3)",
        merchant,
        payment,
        state,
    )
    if status.endswith(" 0"):
        raise InvalidRequest("This payment has no open dispute; POST …/dispute begins one")


async def _locked(tx: Tx, merchant: UUID, payment: UUID) -> Row:
    """The paid payment. Raises NotFound, TestPaymentNotPaid."""
    row = await tx.one(
        "select t.outcome, t.decided_at <= clock(t.merchant) - $3::interval as arrived, p.amount"
        " from florin.test_payment t join florin.payment p"
        " on p.merchant = t.merchant and p.id = t.payment"
        " where t.merchant = $1 and t.payment = $2 for no key update of t",
        merchant,
        payment,
        DELAY,
    )
    if row is None:
        raise NotFound
    if row["outcome"] != "paid" and not (row["outcome"] == "delayed" and row["arrived"]):
        raise TestPaymentNotPaid
    return row


def _refunds(text: str) -> tuple[SeenRefund, ...]:
    found: list[dict[str, object]] = msgspec.json.decode(text)
    return tuple(
        SeenRefund(
            ref=UUID(str(each["ref"])).hex,
            amount=int(str(each["amount"])),
            state="done",
            ours=UUID(str(each["ref"])) if each["ours"] else None,
        )
        for each in found
    )


def _disputes(text: str) -> tuple[SeenDispute, ...]:
    found = msgspec.json.decode(text, type=list[_TestDispute])
    return tuple(
        SeenDispute(
            ref=each.ref.hex,
            kind="chargeback",
            state=each.state,
            amount=each.amount,
            withdrawn=0 if each.state == "won" else each.amount,
        )
        for each in found
    )
