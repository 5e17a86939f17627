"""API: a merchant's own gateways."""

from typing import Literal

import msgspec
from litestar import delete, get, patch, post

from florin.identity.authentication import Caller, EmailNotVerified, ReauthenticationRequired
from florin.identity.request_context import audit_actor, send_position
from florin.identity.services import IdentityServices
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, QuotaExceeded
from florin.kit.http.body import Page
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.rate_limits import limiter
from florin.kit.settings import Settings
from florin.payments import gateway_account as accounts
from florin.payments import gateway_account_changes as changes
from florin.payments.gateway import GatewayOff, GatewayUnavailable
from florin.payments.gateway_account import GatewayAccount, GatewayChange, GatewayRequest
from florin.payments.gateway_account_changes import GatewayTaken
from florin.payments.gateway_directory import GatewayDirectory
from florin.payments.webhook_address import find_address_problem

# Of one merchant: each asks the gateway, and would find out whether a stolen key works.
KEY_TESTS = limiter.Limit("gateway-test", 30, per_s=3600)


class GatewayCheck(msgspec.Struct, kw_only=True):
    """Whether the gateway accepts the key: `ok` with its own name of the `account`, or else
    `key_problem`. `webhook_problem`: why its webhooks would not arrive at `webhook_url`; null if
    they would.
    """

    object: Literal["gateway_check"] = "gateway_check"
    ok: bool
    account: str | None
    key_problem: str | None
    webhook_url: str
    webhook_problem: str | None


@post(
    "/gateways",
    summary="Connect a gateway",
    responses=refusal_responses(
        GatewayTaken, GatewayOff, QuotaExceeded, EmailNotVerified, ReauthenticationRequired
    ),
)
async def connect_gateway(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    gateways: GatewayDirectory,
    data: GatewayRequest,
) -> GatewayAccount:
    """Your own account at Stripe or PayPal: new orders are paid into it. Its secrets are stored
    encrypted and never shown again.
    """
    caller.needs("keys:write")
    await gateways.require_money(caller.merchant, real_money=data.real_money, param="live")
    made = await changes.connect_account(db, sealer, audit_actor(request, caller), data)
    await send_position(request, db)
    return made


@get("/gateways", summary="List gateways", responses=refusal_responses())
async def list_gateways(
    caller: Caller, db: Database, sealer: Sealer, limit: Limit = 20, starting_after: After = None
) -> Page[GatewayAccount]:
    caller.needs("keys:write")
    after = Pagination.after("gtw", starting_after)
    page = await accounts.list_accounts(db, sealer, caller.merchant, limit=limit + 1, after=after)
    return Pagination.of(page, limit)


@get("/gateways/{gateway:str}", summary="Get a gateway", responses=refusal_responses(NotFound))
async def get_gateway(caller: Caller, db: Database, sealer: Sealer, gateway: str) -> GatewayAccount:
    caller.needs("keys:write")
    row = await accounts.find_account_row(db, caller.merchant, gateway)
    return accounts.account_from_row(sealer, row)


@patch(
    "/gateways/{gateway:str}",
    summary="Change a gateway",
    responses=refusal_responses(NotFound, GatewayTaken, ReauthenticationRequired),
)
async def change_gateway(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    gateways: GatewayDirectory,
    identity: IdentityServices,
    gateway: str,
    data: GatewayChange,
) -> GatewayAccount:
    """A new key is of the same account: payments are found and refunded where they were made."""
    caller.needs("keys:write")
    if isinstance(data.secret_key, str):
        await identity.limits.take_of(KEY_TESTS, caller.merchant.hex)
        row = await accounts.find_account_row(db, caller.merchant, gateway)
        if row["account"] is not None and row["provider"] == "stripe":
            try:
                account = await gateways.stripe_account(data.secret_key)
            except GatewayUnavailable:
                account = row["account"]  # nothing is known against it; a test says more
            changes.require_same_account(row, account)
    by = audit_actor(request, caller)
    changed = await changes.change_account(db, sealer, by, gateway, data)
    await send_position(request, db)
    return changed


@delete(
    "/gateways/{gateway:str}",
    status_code=200,
    summary="Turn a gateway off",
    responses=refusal_responses(NotFound, ReauthenticationRequired),
)
async def disconnect_gateway(
    request: AnyRequest, caller: Caller, db: Database, sealer: Sealer, gateway: str
) -> GatewayAccount:
    """It takes no new payments; those that it has are still settled and refunded."""
    caller.needs("keys:write")
    by = audit_actor(request, caller)
    changed = await changes.change_account(db, sealer, by, gateway, GatewayChange(state="off"))
    await send_position(request, db)
    return changed


@post(
    "/gateways/{gateway:str}/test",
    status_code=200,
    summary="Test a gateway",
    responses=refusal_responses(NotFound, ReauthenticationRequired),
)
async def check_gateway(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    gateways: GatewayDirectory,
    identity: IdentityServices,
    gateway: str,
) -> GatewayCheck:
    """Asks the gateway whether it accepts the key, and the address of its webhooks whether it
    answers. No money moves.
    """
    caller.needs("keys:write")
    row = await accounts.find_account_row(db, caller.merchant, gateway)
    await identity.limits.take_of(KEY_TESTS, caller.merchant.hex)
    path = accounts.webhook_path(row["provider"], gateway)
    account, problem = None, None
    try:
        connected = gateways.account(row)
        account = await connected.check()
    except GatewayUnavailable as error:
        problem = str(error)[:300]
    else:
        by = audit_actor(request, caller)
        problem = await changes.note_account(db, by, row["id"], row["account"], account)
    url = f"{settings.page_origin}{path}"
    return GatewayCheck(
        ok=problem is None,
        account=account,
        key_problem=problem,
        webhook_url=url,
        webhook_problem=await find_address_problem(url),
    )


handlers = [
    connect_gateway,
    list_gateways,
    get_gateway,
    change_gateway,
    disconnect_gateway,
    check_gateway,
]
