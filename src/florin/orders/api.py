"""API: orders, from the order to its refund."""

from typing import Annotated

from litestar import Response, get, post
from litestar.params import Parameter

from florin.cards.api.responses import REPLAYED
from florin.cards.references import ReferenceTaken
from florin.identity.authentication import Caller
from florin.identity.request_context import send_position
from florin.kit import plain_text
from florin.kit.errors import (
    Forbidden,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
)
from florin.kit.http.body import Amount, LongText, Page, Request, idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.ledger import refusals as no
from florin.orders import order as orders
from florin.orders import refunding, refunds
from florin.orders.checkout import OrderNotPayable, OrderPaid
from florin.orders.order import Order, OrderRequest, OrderState
from florin.orders.order_rows import OrderOrigin
from florin.orders.refunds import RefundPlan
from florin.orders.services import OrderServices
from florin.payments.gateway import CurrencyNotSupportedByGateway, GatewayOff
from florin.payments.payment import PaymentRefund

EmailFilter = Annotated[
    str | None, Parameter(max_length=254, description="Only orders of this buyer's address.")
]
ReferenceFilter = Annotated[
    str | None, Parameter(max_length=255, description="The one with this reference.")
]


class OrderRefundRequest(Request, kw_only=True):
    """Refund `amount`, by default everything that is unspent. More than that only by an owner, with
    `beyond_unspent` and a reason.
    """

    amount: Amount | None = None
    beyond_unspent: bool = False
    reason: LongText | None = None


@post(
    "/orders",
    summary="Place an order",
    responses=refusal_responses(
        no.ProgramNotFound,
        no.CardNotFound,
        no.AmountNotAllowed,
        no.CurrencyMismatch,
        no.CardNotActive,
        no.CardBlocked,
        no.CardExpired,
        no.CardClosed,
        no.BalanceLimitExceeded,
        GatewayOff,
        CurrencyNotSupportedByGateway,
        OrderNotPayable,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
        OutcomeUnknown,
        ReferenceTaken,
    ),
)
async def place_order(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    selling: OrderServices,
    settings: Settings,
    data: OrderRequest,
    key: Key = "",
) -> Response[Order]:
    """The buyer pays at `pay_url`. Cards are issued once the gateway confirms the payment, exactly
    once. `url` is the order's page, for its buyer; it is only in this response.
    """
    caller.needs("orders:write")
    checked = idempotency_key(key, required=True)
    base = settings.public_url or str(request.base_url).rstrip("/")
    origin = OrderOrigin(caller.merchant, caller.actor, base)
    placed = await selling.checkout.place_order(origin, data, key=checked)
    await send_position(request, db, placed.position)
    return Response(placed.order, headers=REPLAYED if placed.replayed else None)


@get("/orders", summary="List orders", responses=refusal_responses())
async def list_orders(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    order_state: Annotated[OrderState | None, Parameter(query="state")] = None,
    email: EmailFilter = None,
    reference: ReferenceFilter = None,
) -> Page[Order]:
    caller.needs("orders:read")
    after = Pagination.after("ord", starting_after)
    named = plain_text.clean_filter(reference)
    only = {"state": order_state, "buyer_email": email, "reference": named}
    page = await orders.list_orders(db, caller.merchant, limit=limit + 1, after=after, only=only)
    return Pagination.of(page, limit)


@get("/orders/{order:str}", summary="Get an order", responses=refusal_responses(NotFound))
async def get_order(caller: Caller, db: Database, order: str) -> Order:
    caller.needs("orders:read")
    return await orders.find_order(db, caller.merchant, orders.parse_order_id(order))


@post(
    "/orders/{order:str}/cancel",
    status_code=200,
    summary="Cancel an order",
    responses=refusal_responses(NotFound, OrderPaid, OutcomeUnknown),
)
async def cancel_order(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, order: str
) -> Order:
    """An order that is not paid. Money that arrives all the same is returned."""
    caller.needs("orders:write")
    uuid = orders.parse_order_id(order)
    await selling.looker.look_at_order(caller.merchant, uuid)
    await selling.checkout.cancel_order(caller.merchant, uuid, caller.actor)
    await send_position(request, db)
    return await orders.find_order(db, caller.merchant, uuid)


@post(
    "/orders/{order:str}/retry",
    status_code=200,
    summary="Pay an order again",
    responses=refusal_responses(NotFound, OrderNotPayable, GatewayOff, OutcomeUnknown),
)
async def retry_order(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, order: str
) -> Order:
    """A new attempt to pay, after the older one ended or is closed."""
    caller.needs("orders:write")
    uuid = orders.parse_order_id(order)
    await selling.looker.look_at_order(caller.merchant, uuid)
    await selling.checkout.expire_payments(caller.merchant, uuid)
    await selling.looker.look_at_order(caller.merchant, uuid)
    await selling.checkout.retry_order(caller.merchant, uuid)
    await send_position(request, db)
    return await orders.find_order(db, caller.merchant, uuid)


@post(
    "/orders/{order:str}/refunds",
    summary="Refund an order",
    responses=refusal_responses(
        NotFound,
        refunds.OrderNotPaid,
        refunds.PaymentDisputed,
        refunds.OrderInProgress,
        refunds.RefundExceedsPayment,
        refunds.RefundExceedsUnspent,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def refund_order(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    selling: OrderServices,
    order: str,
    data: OrderRefundRequest,
    key: Key = "",
) -> Response[PaymentRefund]:
    """The value is taken back from the cards first. If the gateway then refuses, it is given back
    and the refund is `failed`.
    """
    caller.needs("orders:write")
    checked = idempotency_key(key, required=True)
    uuid = orders.parse_order_id(order)
    await orders.find_order(db, caller.merchant, uuid)
    if data.beyond_unspent:
        if caller.role != "owner":
            raise Forbidden("Only an owner who is signed in refunds more than what is unspent")
        if data.reason is None:
            raise InvalidRequest("beyond_unspent needs a reason", param="reason")
    plan = RefundPlan(
        amount=data.amount,
        beyond_unspent=data.beyond_unspent,
        reason=data.reason,
        actor=caller.actor,
    )
    refund, replayed = await refunding.refund_order(
        db, selling.looker, caller.merchant, uuid, plan, key=checked
    )
    await send_position(request, db)
    return Response(refund, headers=REPLAYED if replayed else None)


@post(
    "/orders/{order:str}/withdraw",
    status_code=200,
    summary="Withdraw from an order",
    responses=refusal_responses(
        NotFound,
        OrderPaid,
        refunds.PaymentDisputed,
        refunds.OrderInProgress,
        refunding.WithdrawalPeriodOver,
    ),
)
async def withdraw_order(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, order: str
) -> Order:
    """The buyer withdraws within 14 days, to the end of the last day in the merchant's time zone:
    what is unspent is refunded. An order that is withdrawn already is returned unchanged.
    """
    caller.needs("orders:write")
    uuid = orders.parse_order_id(order)
    await refunding.withdraw_order(
        db, selling.looker, selling.checkout, caller.merchant, uuid, caller.actor
    )
    await send_position(request, db)
    return await orders.find_order(db, caller.merchant, uuid)


handlers = [
    place_order,
    list_orders,
    get_order,
    cancel_order,
    retry_order,
    refund_order,
    withdraw_order,
]
