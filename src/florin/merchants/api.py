"""API: the routes of merchants: registering, keys, programs."""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post

from florin.kit import ids
from florin.kit.db import Database
from florin.kit.errors import IdempotencyKeyReused, NotFound
from florin.kit.http import Page, fingerprint, idempotency_key
from florin.kit.once import Key, once
from florin.kit.openapi import responses
from florin.kit.paging import After, Limit, page
from florin.kit.settings import Settings
from florin.merchants import key, program
from florin.merchants.access import Access, Caller
from florin.merchants.key import ApiKey, KeyRequest
from florin.merchants.program import Program, ProgramChange, ProgramRequest
from florin.merchants.register import (
    EmailTaken,
    Merchant,
    Registered,
    RegisterRequest,
    SignupClosed,
    User,
    merchant_from,
    register,
    user_from,
)

AnyRequest = Request[Any, Any, Any]


class Me(msgspec.Struct, kw_only=True):
    """Who you are, and what you may do."""

    object: Literal["caller"] = "caller"
    actor: str
    scopes: list[str]
    merchant: Merchant
    user: User | None


@post(
    "/auth/register",
    summary="Register a merchant",
    responses=responses(EmailTaken, SignupClosed, public=True),
)
async def register_merchant(
    request: AnyRequest, db: Database, access: Access, settings: Settings, data: RegisterRequest
) -> Registered:
    """Make a merchant with you as its owner, and sign you in."""
    if settings.signup == "closed":
        raise SignupClosed
    registered = await register(db, access.tokens, data)
    await _wrote(request, db)
    return registered


@get("/auth/me", summary="Who am I?", responses=responses())
async def me(caller: Caller, db: Database) -> Me:
    merchant = await db.one("select * from florin.merchant where id = $1", caller.merchant)
    assert merchant is not None
    member = ids.parse("usr", caller.actor)
    user = member and await db.one(
        "select * from florin.member where merchant = $1 and id = $2", caller.merchant, member
    )
    return Me(
        actor=caller.actor,
        scopes=sorted(caller.scopes),
        merchant=merchant_from(merchant),
        user=user_from(user) if user else None,
    )


@post("/api-keys", summary="Make an API key", responses=responses())
async def create_key(
    request: AnyRequest, caller: Caller, db: Database, access: Access, data: KeyRequest
) -> ApiKey:
    """The secret is in this answer and nowhere else afterwards."""
    caller.needs("keys:write")
    made = await key.create(
        db, merchant=caller.merchant, want=data, allowed=caller.scopes, pepper_hash=access.hash_of
    )
    await _wrote(request, db)
    return made


@get("/api-keys", summary="List API keys", responses=responses())
async def list_keys(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[ApiKey]:
    caller.needs("keys:write")
    after = page.after("key", starting_after)
    return page.of(await key.listed(db, caller.merchant, limit=limit + 1, after=after), limit)


@get("/api-keys/{key_id:str}", summary="Get an API key", responses=responses(NotFound))
async def get_key(caller: Caller, db: Database, key_id: str) -> ApiKey:
    caller.needs("keys:write")
    return await key.find(db, caller.merchant, key_id)


@delete(
    "/api-keys/{key_id:str}",
    status_code=200,
    summary="Revoke an API key",
    responses=responses(NotFound),
)
async def revoke_key(request: AnyRequest, caller: Caller, db: Database, key_id: str) -> ApiKey:
    """It is refused everywhere within five seconds."""
    caller.needs("keys:write")
    revoked = await key.revoke(db, caller.merchant, key_id)
    await _wrote(request, db)
    return revoked


@post("/programs", summary="Create a program", responses=responses(IdempotencyKeyReused))
async def create_program(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    data: ProgramRequest,
    idempotency: Key = None,
) -> Response[Program]:
    caller.needs("programs:write")
    checked = idempotency_key(idempotency, required=False)
    made = first = ids.new()
    async with db.transaction() as tx:
        if checked is not None:
            first = await once(
                tx,
                merchant=caller.merchant,
                key=checked,
                operation="create-program",
                fingerprint=fingerprint("create-program", data),
                noun=made,
            )
        if first == made:
            await program.create(tx, caller.merchant, data, program=made)
    await _wrote(request, db)
    answer = await program.find(db, caller.merchant, ids.show("prg", first))
    replayed = {"Idempotency-Replayed": "true"} if first != made else None
    return Response(answer, headers=replayed)


@get("/programs", summary="List programs", responses=responses())
async def list_programs(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[Program]:
    caller.needs("programs:read")
    after = page.after("prg", starting_after)
    return page.of(await program.listed(db, caller.merchant, limit=limit + 1, after=after), limit)


@get("/programs/{program_id:str}", summary="Get a program", responses=responses(NotFound))
async def get_program(caller: Caller, db: Database, program_id: str) -> Program:
    caller.needs("programs:read")
    return await program.find(db, caller.merchant, program_id)


@patch("/programs/{program_id:str}", summary="Change a program", responses=responses(NotFound))
async def change_program(
    request: AnyRequest, caller: Caller, db: Database, program_id: str, data: ProgramChange
) -> Program:
    caller.needs("programs:write")
    changed = await program.change(db, caller.merchant, program_id, data)
    await _wrote(request, db)
    return changed


async def _wrote(request: AnyRequest, db: Database) -> None:
    """Tell the caller how far he must be able to read."""
    request.scope["position"] = await db.position()  # pyright: ignore[reportGeneralTypeIssues]


handlers = [
    register_merchant,
    me,
    create_key,
    list_keys,
    get_key,
    revoke_key,
    create_program,
    list_programs,
    get_program,
    change_program,
]
