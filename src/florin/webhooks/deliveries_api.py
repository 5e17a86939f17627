"""Deliveries API: the routes of webhook deliveries."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.errors import NotFound
from florin.kit.http.body import Page
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.webhooks import delivery
from florin.webhooks.api import OnlyState, require_webhooks
from florin.webhooks.delivery import WebhookDelivery
from florin.webhooks.endpoint_changes import EndpointDisabled


@get("/webhook-deliveries", summary="List webhook deliveries", responses=refusal_responses())
async def list_webhook_deliveries(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    endpoint: str | None = None,
    in_state: OnlyState = None,
) -> Page[WebhookDelivery]:
    """Newest first, of all endpoints or of one."""
    require_webhooks(caller, "webhooks:read")
    after = Pagination.after("whd", starting_after)
    found = await delivery.list_deliveries(
        db,
        caller.merchant,
        limit=limit + 1,
        after=after,
        endpoint=Pagination.only("whe", endpoint),
        state=in_state,
    )
    return Pagination.of(found, limit)


@get(
    "/webhook-deliveries/{delivery_id:str}",
    summary="Get a webhook delivery",
    responses=refusal_responses(NotFound),
)
async def get_webhook_delivery(caller: Caller, db: Database, delivery_id: str) -> WebhookDelivery:
    require_webhooks(caller, "webhooks:read")
    return await delivery.find_delivery(db, caller.merchant, delivery_id)


@post(
    "/webhook-deliveries/{delivery_id:str}/resend",
    status_code=202,
    summary="Send a webhook delivery again",
    responses=refusal_responses(NotFound, EndpointDisabled),
)
async def resend_webhook_delivery(
    request: AnyRequest, caller: Caller, db: Database, delivery_id: str
) -> WebhookDelivery:
    """Send it now under the same `webhook-id`, also if it was delivered before."""
    require_webhooks(caller, "webhooks:write")
    resent = await delivery.resend_delivery(db, audit_actor(request, caller), delivery_id)
    await send_position(request, db)
    return resent


handlers: list[HTTPRouteHandler] = [
    list_webhook_deliveries,
    get_webhook_delivery,
    resend_webhook_delivery,
]
