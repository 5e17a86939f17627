"""API: the routes of webhook endpoints and their deliveries."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from florin.identity.authentication import Caller, EmailNotVerified
from florin.identity.request_context import audit_actor, send_position
from florin.kit.encryption import Sealer
from florin.kit.errors import Forbidden, IdempotencyKeyReused, NotFound, QuotaExceeded
from florin.kit.http.body import Page, idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.webhooks import delivery, endpoint, endpoint_changes
from florin.webhooks.addresses import AddressRules, UrlNotAllowed, require_url_allowed
from florin.webhooks.delivery import DeliveryState, WebhookDelivery
from florin.webhooks.endpoint import EndpointRequest, WebhookEndpoint
from florin.webhooks.endpoint_changes import EndpointChange, EndpointDisabled, ReplayRequest

OnlyState = Annotated[DeliveryState | None, QueryParameter(name="state")]


def require_webhooks(caller: Caller, scope: str) -> None:
    """Require a scope; events are of all locations, so a key of one location is refused."""
    caller.needs(scope)
    if caller.location is not None:
        raise Forbidden("A key that is bound to a location cannot use webhooks")


async def _checked(settings: Settings, url: str) -> str:
    return await require_url_allowed(url, AddressRules.of(settings.env, settings.webhook_allow))


@post(
    "/webhook-endpoints",
    summary="Create a webhook endpoint",
    responses=refusal_responses(
        UrlNotAllowed, EmailNotVerified, QuotaExceeded, IdempotencyKeyReused
    ),
)
async def create_endpoint(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    settings: Settings,
    data: EndpointRequest,
    idempotency: Key = "",
) -> Response[WebhookEndpoint]:
    """Events are sent to it from now on, as Standard Webhooks. The secret that signs them is only
    in this response.
    """
    require_webhooks(caller, "webhooks:write")
    checked = msgspec.structs.replace(data, url=await _checked(settings, data.url))
    made, replayed = await endpoint.create_endpoint(
        db,
        sealer,
        audit_actor(request, caller),
        checked,
        key=idempotency_key(idempotency, required=False),
    )
    await send_position(request, db)
    return Response(made, headers={"Idempotency-Replayed": "true"} if replayed else None)


@get("/webhook-endpoints", summary="List webhook endpoints", responses=refusal_responses())
async def list_endpoints(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[WebhookEndpoint]:
    require_webhooks(caller, "webhooks:read")
    after = Pagination.after("whe", starting_after)
    return Pagination.of(
        await endpoint.list_endpoints(db, caller.merchant, limit=limit + 1, after=after), limit
    )


@get(
    "/webhook-endpoints/{endpoint_id:str}",
    summary="Get a webhook endpoint",
    responses=refusal_responses(NotFound),
)
async def get_endpoint(caller: Caller, db: Database, endpoint_id: str) -> WebhookEndpoint:
    require_webhooks(caller, "webhooks:read")
    return await endpoint.find_endpoint(db, caller.merchant, endpoint_id)


@patch(
    "/webhook-endpoints/{endpoint_id:str}",
    summary="Change a webhook endpoint",
    responses=refusal_responses(NotFound, UrlNotAllowed),
)
async def change_endpoint(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    endpoint_id: str,
    data: EndpointChange,
) -> WebhookEndpoint:
    require_webhooks(caller, "webhooks:write")
    if data.url is not msgspec.UNSET:
        data = msgspec.structs.replace(data, url=await _checked(settings, data.url))
    by = audit_actor(request, caller)
    changed = await endpoint_changes.change_endpoint(db, by, endpoint_id, data)
    await send_position(request, db)
    return changed


@delete(
    "/webhook-endpoints/{endpoint_id:str}",
    status_code=200,
    summary="Delete a webhook endpoint",
    responses=refusal_responses(NotFound),
)
async def delete_endpoint(
    request: AnyRequest, caller: Caller, db: Database, endpoint_id: str
) -> WebhookEndpoint:
    """Nothing more is sent to it. Its deliveries can be read for 30 days."""
    require_webhooks(caller, "webhooks:write")
    deleted = await endpoint_changes.delete_endpoint(db, audit_actor(request, caller), endpoint_id)
    await send_position(request, db)
    return deleted


@post(
    "/webhook-endpoints/{endpoint_id:str}/rotate-secret",
    status_code=200,
    summary="Rotate the secret of a webhook endpoint",
    responses=refusal_responses(NotFound),
)
async def rotate_secret(
    request: AnyRequest, caller: Caller, db: Database, sealer: Sealer, endpoint_id: str
) -> WebhookEndpoint:
    """The new secret is only in this response. For 24 hours each message has two signatures, of the
    new and of the previous secret.
    """
    require_webhooks(caller, "webhooks:write")
    by = audit_actor(request, caller)
    rotated = await endpoint_changes.rotate_secret(db, sealer, by, endpoint_id)
    await send_position(request, db)
    return rotated


@post(
    "/webhook-endpoints/{endpoint_id:str}/replay",
    status_code=202,
    summary="Replay events to a webhook endpoint",
    responses=refusal_responses(NotFound, EndpointDisabled),
)
async def replay_events(
    request: AnyRequest, caller: Caller, db: Database, endpoint_id: str, data: ReplayRequest
) -> WebhookEndpoint:
    """Send the matching events since an instant, in their order and under their ids, also those
    that were delivered before.
    """
    require_webhooks(caller, "webhooks:write")
    by = audit_actor(request, caller)
    replayed = await endpoint_changes.replay_events(db, by, endpoint_id, data.since)
    await send_position(request, db)
    return replayed


@get(
    "/webhook-endpoints/{endpoint_id:str}/deliveries",
    summary="List the deliveries of a webhook endpoint",
    responses=refusal_responses(NotFound),
)
async def list_endpoint_deliveries(
    caller: Caller,
    db: Database,
    endpoint_id: str,
    limit: Limit = 20,
    starting_after: After = None,
    in_state: OnlyState = None,
) -> Page[WebhookDelivery]:
    """Newest first, with their attempts. Deliveries are kept for 30 days."""
    require_webhooks(caller, "webhooks:read")
    await endpoint.find_endpoint(db, caller.merchant, endpoint_id)
    only = endpoint.parse_endpoint_id(endpoint_id)
    after = Pagination.after("whd", starting_after)
    found = await delivery.list_deliveries(
        db, caller.merchant, limit=limit + 1, after=after, endpoint=only, state=in_state
    )
    return Pagination.of(found, limit)


handlers: list[HTTPRouteHandler] = [
    create_endpoint,
    list_endpoints,
    get_endpoint,
    change_endpoint,
    delete_endpoint,
    rotate_secret,
    replay_events,
    list_endpoint_deliveries,
]
