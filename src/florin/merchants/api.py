"""API: the routes for merchants and their programs."""

from typing import Literal

import msgspec
from litestar import Response, get, patch, post

from florin.identity import members as member
from florin.identity.authentication import Caller, ReauthenticationRequired
from florin.identity.members import EmailTaken, User
from florin.identity.request_context import audit_actor, send_position
from florin.identity.services import IdentityServices
from florin.kit import ids
from florin.kit.errors import Forbidden, IdempotencyKeyReused, NotFound, Unauthenticated
from florin.kit.http.body import Page, fingerprint, idempotency_key
from florin.kit.http.idempotency_key import Key, claim_key
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.merchants import programs
from florin.merchants.branding import SlugTaken
from florin.merchants.law.program_law import RuleViolated
from florin.merchants.merchant import Merchant, find_merchant
from florin.merchants.policy import MerchantChange, change_merchant_policy
from florin.merchants.program import Program, ProgramChange, ProgramRequest
from florin.merchants.registration import Registered, RegisterRequest, SignupClosed, register_owner


class Me(msgspec.Struct, kw_only=True):
    """The caller and its scopes. `location`: the only location where this key may act."""

    object: Literal["caller"] = "caller"
    actor: str
    scopes: list[str]
    location: str | None
    merchant: Merchant
    user: User | None


@post(
    "/programs",
    summary="Create a program",
    responses=refusal_responses(IdempotencyKeyReused, RuleViolated),
)
async def create_program(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    data: ProgramRequest,
    idempotency: Key = "",
) -> Response[Program]:
    """`warnings` in the response are the rules of the `places` that the program does not keep. In
    production, except for test merchants, they are refused unless an owner who is signed in gives
    the reason as `override`.
    """
    caller.needs("programs:write")
    _require_owner(caller, data.override)
    checked = idempotency_key(idempotency, required=False)
    made = first = ids.new_id()
    async with db.transaction() as tx:
        if checked is not None:
            first = await claim_key(
                tx,
                merchant=caller.merchant,
                key=checked,
                operation="create-program",
                fingerprint=fingerprint("create-program", data),
                noun=made,
            )
        if first == made:
            await programs.create_program(
                tx,
                caller.merchant,
                data,
                program=made,
                by=audit_actor(request, caller),
                in_production=settings.env == "production",
            )
    await send_position(request, db)
    answer = await programs.find_program(db, caller.merchant, ids.show_id("prg", first))
    replayed = {"Idempotency-Replayed": "true"} if first != made else None
    return Response(answer, headers=replayed)


def _require_owner(caller: Caller, override: str | msgspec.UnsetType) -> None:
    """Raises Forbidden if someone else than an owner accepts a violation of the law."""
    if override is not msgspec.UNSET and caller.role != "owner":
        raise Forbidden("only an owner who is signed in gives an override")


@get("/programs", summary="List programs", responses=refusal_responses())
async def list_programs(
    caller: Caller,
    db: Database,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
) -> Page[Program]:
    caller.needs("programs:read")
    after = Pagination.after("prg", starting_after)
    page = await programs.list_programs(
        db, caller.merchant, limit=limit + 1, after=after, created=created.bounds()
    )
    return Pagination.of(page, limit)


@get("/programs/{program_id:str}", summary="Get a program", responses=refusal_responses(NotFound))
async def get_program(caller: Caller, db: Database, program_id: str) -> Program:
    caller.needs("programs:read")
    return await programs.find_program(db, caller.merchant, program_id)


@patch(
    "/programs/{program_id:str}",
    summary="Change a program",
    responses=refusal_responses(NotFound, RuleViolated),
)
async def change_program(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    program_id: str,
    data: ProgramChange,
) -> Program:
    """`warnings` and `override` are as in creating a program. What the program violated before is
    not refused again.
    """
    caller.needs("programs:write")
    _require_owner(caller, data.override)
    changed = await programs.change_program(
        db,
        audit_actor(request, caller),
        program_id,
        data,
        in_production=settings.env == "production",
    )
    await send_position(request, db)
    return changed


@post(
    "/auth/register",
    summary="Register a merchant",
    responses=refusal_responses(EmailTaken, SignupClosed, public=True),
)
async def register_merchant(
    request: AnyRequest, identity: IdentityServices, settings: Settings, data: RegisterRequest
) -> Registered:
    """Create a merchant with you as its owner, and sign you in."""
    if not settings.signup_open:
        raise SignupClosed
    registered = await register_owner(identity, identity.client(request), data)
    await send_position(request, identity.database)
    return registered


@get("/auth/me", summary="Get the caller", responses=refusal_responses())
async def me(caller: Caller, db: Database) -> Me:
    merchant = await find_merchant(db, caller.merchant)
    try:
        user = (
            await member.find_member(db, caller.merchant, caller.actor) if caller.person else None
        )
    except NotFound:
        raise Unauthenticated from None  # the member was removed after it was authenticated
    return Me(
        actor=caller.actor,
        scopes=sorted(caller.scopes),
        location=caller.location,
        merchant=merchant,
        user=user,
    )


@get("/merchant", summary="Get your merchant", responses=refusal_responses())
async def get_merchant(caller: Caller, db: Database) -> Merchant:
    return await find_merchant(db, caller.merchant)


@patch(
    "/merchant",
    summary="Change your merchant",
    responses=refusal_responses(ReauthenticationRequired, SlugTaken),
)
async def change_merchant(
    request: AnyRequest, caller: Caller, db: Database, data: MerchantChange
) -> Merchant:
    """`second_factor_roles`: members of these roles must set up a second factor before they can do
    anything else; effective on all instances within five seconds. `timezone`: cards issued from
    now on expire at the end of a day in this time zone. `slug`: opens the storefront at
    `/s/{slug}`; null closes it.
    """
    caller.needs("members:write")
    changed = await change_merchant_policy(db, audit_actor(request, caller), data)
    await send_position(request, db)
    return changed


handlers = [
    register_merchant,
    me,
    get_merchant,
    change_merchant,
    create_program,
    list_programs,
    get_program,
    change_program,
]
