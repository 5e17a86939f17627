"""API: the routes with which members subscribe to notices."""

from litestar import get, patch

from florin.deliveries.notices import subscriptions
from florin.deliveries.notices.subscriptions import NoticeChange, NoticeSubscription
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


@get("/auth/notices", summary="Get your subscription to notices", responses=refusal_responses())
async def get_notices(caller: Caller, db: Database) -> NoticeSubscription:
    """What you get mails about."""
    return await subscriptions.find_subscription(db, caller.merchant, caller.signed_in().member)


@patch("/auth/notices", summary="Subscribe to notices", responses=refusal_responses())
async def change_notices(
    request: AnyRequest, caller: Caller, db: Database, data: NoticeChange
) -> NoticeSubscription:
    """A mail for each job that finishes or fails, each message that bounces, and each webhook
    endpoint that is disabled. Your role must be allowed to read them.
    """
    me = caller.signed_in()
    changed = await subscriptions.change_subscription(
        db, audit_actor(request, caller), me.member, data, caller.scopes
    )
    await send_position(request, db)
    return changed


handlers = [get_notices, change_notices]
