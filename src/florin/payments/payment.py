"""Payment: one attempt to pay an order, its refunds and disputes, as the API shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database, Reader, Row, Tx
from florin.payments.gateway import PaymentRow, PaymentState, Provider


class Payment(msgspec.Struct, kw_only=True):
    """A payment. `amount` is what the order asks, `received` what the gateway says was paid;
    `refunded` includes refunds on their way. `surplus`: another payment had paid the order.
    """

    id: str
    object: Literal["payment"] = "payment"
    order: str
    attempt: int
    gateway: str
    state: PaymentState
    amount: int
    currency: str
    received: int
    refunded: int
    fee: int
    fee_currency: str | None
    surplus: bool
    disputed: bool
    failure: str | None
    reference: str | None
    url: str | None
    expires_at: datetime
    created_at: datetime
    paid_at: datetime | None


class PaymentRefund(msgspec.Struct, kw_only=True):
    """Money returned to a buyer. `clawed` was taken back from the cards, `loss` is borne by the
    merchant. `adopted`: it was made at the gateway.
    """

    id: str
    object: Literal["payment_refund"] = "payment_refund"
    payment: str
    state: Literal["asked", "done", "failed"]
    amount: int
    currency: str
    clawed: int
    loss: int
    reason: str | None
    failure: str | None
    adopted: bool
    actor: str
    created_at: datetime
    resolved_at: datetime | None


class Dispute(msgspec.Struct, kw_only=True):
    """A dispute. Its cards are blocked until it is won or closed; `withdrawn` is what the gateway
    holds back because of it.
    """

    id: str
    object: Literal["dispute"] = "dispute"
    payment: str
    kind: Literal["inquiry", "chargeback", "warning"]
    state: Literal["open", "won", "lost", "closed"]
    amount: int
    currency: str
    withdrawn: int
    clawed: int
    loss: int
    cards: list[str]
    due_at: datetime | None
    created_at: datetime
    resolved_at: datetime | None


# Of a payment p: whether the gateway, not Florin, decides about its money, or has decided.
DISPUTED = """exists (select from florin.dispute d where d.merchant = p.merchant
    and d.payment = p.id and d.state in ('open', 'lost'))"""
_PAYMENT = f"""
select p.*, {DISPUTED} as disputed
from florin.payment p where p.merchant = $1
"""  # noqa: S608 -- our own text
# What a gateway needs: see PaymentRow.
ROWS = """
select p.merchant, p.id, p.orders, p.provider, p.gateway, p.state, p.currency, p.amount, p.received,
  p.reference, p.capture_ref, p.expires_at, p.created_at, o.state = 'placed' as stands,
  o.number, o.buyer_email, o.token_sealed, o.return_url, o.base_url, m.name as merchant_name
from unnest($1::uuid[], $2::uuid[]) as u (merchant, id)
join florin.payment p on p.merchant = u.merchant and p.id = u.id
join florin.orders o on o.merchant = p.merchant and o.id = p.orders
join florin.merchant m on m.id = p.merchant
"""


def payment_row(row: Row, return_url: str) -> PaymentRow:
    return PaymentRow(
        merchant=row["merchant"],
        id=row["id"],
        order=row["orders"],
        order_number=row["number"],
        order_stands=row["stands"],
        provider=cast("Provider", row["provider"]),
        gateway=row["gateway"],
        state=cast("PaymentState", row["state"]),
        currency=row["currency"],
        amount=row["amount"],
        received=row["received"],
        reference=row["reference"],
        capture_ref=row["capture_ref"],
        email=row["buyer_email"],
        merchant_name=row["merchant_name"],
        return_url=return_url,
        base_url=row["base_url"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
    )


def gateway_name(provider: str, gateway: UUID) -> str:
    """The name of a gateway in the API: of the installation's own, the provider."""
    return provider if gateway == ids.NONE else ids.show_id("gtw", gateway)


def payment_from_row(row: Mapping[str, Any]) -> Payment:
    return Payment(
        id=ids.show_id("pay", row["id"]),
        order=ids.show_id("ord", row["orders"]),
        attempt=row["attempt"],
        gateway=gateway_name(row["provider"], row["gateway"]),
        state=cast("PaymentState", row["state"]),
        amount=row["amount"],
        currency=row["currency"],
        received=row["received"],
        refunded=row["refunded"],
        fee=row["fee"],
        fee_currency=row["fee_currency"],
        surplus=row["surplus"],
        disputed=row["disputed"],
        failure=row["failure"],
        reference=row["reference"],
        url=row["url"] if row["state"] in {"created", "open"} else None,
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        paid_at=row["paid_at"],
    )


def refund_from_row(row: Mapping[str, Any]) -> PaymentRefund:
    return PaymentRefund(
        id=ids.show_id("prf", row["id"]),
        payment=ids.show_id("pay", row["payment"]),
        state=row["state"],
        amount=row["amount"],
        currency=row["currency"],
        clawed=row["clawed"],
        loss=row["loss"],
        reason=row["reason"],
        failure=row["failure"],
        adopted=row["adopted"],
        actor=row["actor"],
        created_at=row["created_at"],
        resolved_at=row["resolved_at"],
    )


def dispute_from_row(row: Mapping[str, Any]) -> Dispute:
    return Dispute(
        id=ids.show_id("dsp", row["id"]),
        payment=ids.show_id("pay", row["payment"]),
        kind=row["kind"],
        state=row["state"],
        amount=row["amount"],
        currency=row["currency"],
        withdrawn=row["withdrawn"],
        clawed=row["clawed"],
        loss=row["loss"],
        cards=msgspec.json.decode(row["cards"], type=list[str]),
        due_at=row["due_at"],
        created_at=row["created_at"],
        resolved_at=row["resolved_at"],
    )


async def find_payment(reads: Reader | Tx, merchant: UUID, text: str) -> Payment:
    """Raises NotFound."""
    uuid = ids.require_id("pay", text)
    row = await reads.one(f"{_PAYMENT} and p.id = $2", merchant, uuid)
    if row is None:
        raise NotFound
    return payment_from_row(row)


async def find_refund(reads: Reader | Tx, merchant: UUID, text: str) -> PaymentRefund:
    """Raises NotFound."""
    row = await reads.one(
        "select * from florin.payment_refund where merchant = $1 and id = $2",
        merchant,
        ids.require_id("prf", text),
    )
    if row is None:
        raise NotFound
    return refund_from_row(row)


async def find_dispute(reads: Reader | Tx, merchant: UUID, text: str) -> Dispute:
    """Raises NotFound."""
    row = await reads.one(
        "select * from florin.dispute where merchant = $1 and id = $2",
        merchant,
        ids.require_id("dsp", text),
    )
    if row is None:
        raise NotFound
    return dispute_from_row(row)


async def list_payments(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None, order: UUID | None
) -> list[Payment]:
    where = _page(merchant, after, "p.id")
    if order is not None:
        where.add("p.orders = {}", order)
    page = where.bind(limit)
    rows = await database.all(
        f"{_PAYMENT}{where} order by p.id desc limit {page}", *where.arguments
    )
    return [payment_from_row(row) for row in rows]


async def list_refunds(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None, payment: UUID | None
) -> list[PaymentRefund]:
    rows = await _of_payment(database, "payment_refund", merchant, limit, after, payment)
    return [refund_from_row(row) for row in rows]


async def list_disputes(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None, payment: UUID | None
) -> list[Dispute]:
    rows = await _of_payment(database, "dispute", merchant, limit, after, payment)
    return [dispute_from_row(row) for row in rows]


async def _of_payment(
    database: Database,
    table: str,
    merchant: UUID,
    limit: int,
    after: UUID | None,
    payment: UUID | None,
) -> Any:
    where = _page(merchant, after, "id")
    if payment is not None:
        where.add("payment = {}", payment)
    page = where.bind(limit)
    return await database.all(
        f"select * from florin.{table} where merchant = $1{where} order by id desc limit {page}",  # noqa: S608 -- our own text
        *where.arguments,
    )


def _page(merchant: UUID, after: UUID | None, column: str) -> Conditions:
    where = Conditions([merchant])
    if after is not None:
        where.add(f"{column} < {{}}", after)
    return where
