"""API: payments, their refunds and disputes."""

from typing import Annotated

from litestar import get
from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.kit.errors import NotFound
from florin.kit.http.body import CURRENCY, Page, check_currency
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.replicas.routing import RoutedReader
from florin.kit.timestamps import parse_instant
from florin.payments import payment as payments
from florin.payments.gateway_report import GatewayReport, read_gateway_report
from florin.payments.payment import Dispute, Payment, PaymentRefund

OrderFilter = Annotated[str | None, Parameter(description="Only payments of this order.")]
PaymentFilter = Annotated[str | None, Parameter(description="Only those of this payment.")]


@get("/payments", summary="List payments", responses=refusal_responses())
async def list_payments(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    order: OrderFilter = None,
) -> Page[Payment]:
    caller.needs("orders:read")
    page = await payments.list_payments(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("pay", starting_after),
        order=Pagination.only("ord", order),
    )
    return Pagination.of(page, limit)


@get("/payments/{payment:str}", summary="Get a payment", responses=refusal_responses(NotFound))
async def get_payment(caller: Caller, db: Database, payment: str) -> Payment:
    caller.needs("orders:read")
    return await payments.find_payment(db, caller.merchant, payment)


@get("/payment-refunds", summary="List refunds of payments", responses=refusal_responses())
async def list_payment_refunds(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    payment: PaymentFilter = None,
) -> Page[PaymentRefund]:
    caller.needs("orders:read")
    page = await payments.list_refunds(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("prf", starting_after),
        payment=Pagination.only("pay", payment),
    )
    return Pagination.of(page, limit)


@get(
    "/payment-refunds/{payment_refund:str}",
    summary="Get a refund of a payment",
    responses=refusal_responses(NotFound),
)
async def get_payment_refund(caller: Caller, db: Database, payment_refund: str) -> PaymentRefund:
    caller.needs("orders:read")
    return await payments.find_refund(db, caller.merchant, payment_refund)


@get("/disputes", summary="List disputes", responses=refusal_responses())
async def list_disputes(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    payment: PaymentFilter = None,
) -> Page[Dispute]:
    caller.needs("orders:read")
    page = await payments.list_disputes(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("dsp", starting_after),
        payment=Pagination.only("pay", payment),
    )
    return Pagination.of(page, limit)


@get("/disputes/{dispute:str}", summary="Get a dispute", responses=refusal_responses(NotFound))
async def get_dispute(caller: Caller, db: Database, dispute: str) -> Dispute:
    caller.needs("orders:read")
    return await payments.find_dispute(db, caller.merchant, dispute)


@get("/reports/gateway", summary="Money at gateways", responses=refusal_responses())
async def get_gateway_report(
    caller: Caller,
    reads: RoutedReader,
    since: Annotated[
        str | None, Parameter(query="from", description="RFC 3339; from the beginning by default.")
    ] = None,
    until: Annotated[
        str | None, Parameter(query="to", description="RFC 3339, not included; until now.")
    ] = None,
    currency: Annotated[
        str | None, Parameter(pattern="^[A-Z]{3}$", max_length=3, description=CURRENCY)
    ] = None,
) -> GatewayReport:
    """What gateways collected, kept, returned and paid out, what they still owe, and money that has
    no counterpart. `currency`: the merchant's by default.
    """
    caller.needs("reports:read")
    if currency is not None:
        check_currency(currency, param="currency")
    return await read_gateway_report(
        reads,
        caller.merchant,
        since=None if since is None else parse_instant(since, param="from"),
        until=None if until is None else parse_instant(until, param="to"),
        currency=currency,
    )


handlers = [
    get_gateway_report,
    list_payments,
    get_payment,
    list_payment_refunds,
    get_payment_refund,
    list_disputes,
    get_dispute,
]
