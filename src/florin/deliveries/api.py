"""API: the routes that list, read, change and cancel deliveries."""

from typing import Annotated

from litestar import get, patch, post
from litestar.params import Parameter

from florin.deliveries import changes, listing
from florin.deliveries.changes import DeliveryChange, DeliveryStateConflict
from florin.deliveries.delivery import Delivery, DeliveryState, find_delivery
from florin.deliveries.listing import DeliveryFilter
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.errors import NotFound
from florin.kit.http.body import Page
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


@get("/deliveries", summary="List deliveries", responses=refusal_responses())
async def list_deliveries(
    caller: Caller,
    db: Database,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
    card: str | None = None,
    delivery_state: Annotated[DeliveryState | None, Parameter(query="state")] = None,
) -> Page[Delivery]:
    """What was or will be sent to people, newest first. E-mail of accounts is included."""
    caller.needs("deliveries:read")
    only = DeliveryFilter(
        card=Pagination.only("crd", card), state=delivery_state, created=created.bounds()
    )
    after = Pagination.after("dlv", starting_after)
    page = await listing.list_deliveries(
        db, caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(page, limit)


@get("/deliveries/{delivery:str}", summary="Get a delivery", responses=refusal_responses(NotFound))
async def get_delivery(caller: Caller, db: Database, delivery: str) -> Delivery:
    caller.needs("deliveries:read")
    return await find_delivery(db, caller.merchant, delivery)


@patch(
    "/deliveries/{delivery:str}",
    summary="Change a delivery",
    responses=refusal_responses(NotFound, DeliveryStateConflict),
)
async def change_delivery(
    request: AnyRequest, caller: Caller, db: Database, delivery: str, data: DeliveryChange
) -> Delivery:
    """Before it is sent: its address and when it is sent. After it bounced or failed: its address;
    then send it again.
    """
    caller.needs("deliveries:write")
    changed = await changes.change_delivery(db, audit_actor(request, caller), delivery, data)
    await send_position(request, db)
    return changed


@post(
    "/deliveries/{delivery:str}/cancel",
    status_code=200,
    summary="Cancel a delivery",
    responses=refusal_responses(NotFound, DeliveryStateConflict),
)
async def cancel_delivery(
    request: AnyRequest, caller: Caller, db: Database, delivery: str
) -> Delivery:
    """A delivery that is cancelled already is returned unchanged."""
    caller.needs("deliveries:write")
    cancelled = await changes.cancel_delivery(db, audit_actor(request, caller), delivery)
    await send_position(request, db)
    return cancelled


handlers = [list_deliveries, get_delivery, change_delivery, cancel_delivery]
