"""API: orders of many cards for the recipients of a list."""

from litestar import Response, get, post

from florin.cards.api.responses import REPLAYED
from florin.cards.references import ReferenceTaken
from florin.identity.authentication import Caller
from florin.identity.request_context import send_position
from florin.kit.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    NotFound,
    OutcomeUnknown,
)
from florin.kit.http.body import Page, idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.ledger import refusals as no
from florin.orders import order as orders
from florin.orders.bulk.listing import OrderRecipient, list_recipients
from florin.orders.bulk.placing import (
    BulkListRequest,
    BulkOrderCheck,
    BulkOrderRequest,
    check_bulk_order,
    order_of_list,
)
from florin.orders.checkout import OrderNotPayable
from florin.orders.order import Order
from florin.orders.order_rows import OrderOrigin
from florin.orders.services import OrderServices
from florin.payments.gateway import CurrencyNotSupportedByGateway, GatewayOff

BODY_MAX = 2 * 1024 * 1024  # bytes


@post(
    "/orders/bulk",
    summary="Order a card for each recipient of a list",
    request_max_body_size=BODY_MAX,
    responses=refusal_responses(
        no.ProgramNotFound,
        GatewayOff,
        CurrencyNotSupportedByGateway,
        OrderNotPayable,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
        OutcomeUnknown,
        ReferenceTaken,
    ),
)
async def place_bulk_order(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    selling: OrderServices,
    settings: Settings,
    data: BulkOrderRequest,
    key: Key = "",
) -> Response[Order]:
    """One order, paid once at `pay_url`, of one card for each line of a CSV text. Invalid lines are
    all named in `errors`, before anything is ordered. Once it is paid, a job issues and sends the
    cards; the order is `paid` until all are issued, then `fulfilled`.
    """
    caller.needs("orders:write")
    checked = idempotency_key(key, required=True)
    listed, _ = await check_bulk_order(db, caller.merchant, data)
    base = settings.public_url or str(request.base_url).rstrip("/")
    origin = OrderOrigin(caller.merchant, caller.actor, base)
    placed = await selling.checkout.place_order(
        origin, order_of_list(data, listed), key=checked, bulk=True
    )
    await send_position(request, db)
    return Response(placed.order, headers=REPLAYED if placed.replayed else None)


@post(
    "/orders/bulk/check",
    status_code=200,
    summary="Check the list of a bulk order",
    operation_id="check_bulk_order",
    request_max_body_size=BODY_MAX,
    responses=refusal_responses(no.ProgramNotFound),
)
async def check_list(caller: Caller, db: Database, data: BulkListRequest) -> BulkOrderCheck:
    """Read a list as an order would, and order nothing: how many cards they are and what they cost,
    or every invalid line in `errors`.
    """
    caller.needs("orders:read")
    return (await check_bulk_order(db, caller.merchant, data))[1]


@get(
    "/orders/{order:str}/recipients",
    summary="List the recipients of an order",
    responses=refusal_responses(NotFound),
)
async def list_order_recipients(
    caller: Caller, db: Database, order: str, limit: Limit = 20, starting_after: After = None
) -> Page[OrderRecipient]:
    """In the order of the list, each with its card once it is issued."""
    caller.needs("orders:read")
    page = await list_recipients(
        db,
        caller.merchant,
        orders.parse_order_id(order),
        limit=limit + 1,
        after=Pagination.after("oit", starting_after),
    )
    return Pagination.of(page, limit)


handlers = [place_bulk_order, check_list, list_order_recipients]
