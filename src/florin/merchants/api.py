"""API: the routes of merchants: keys, programs, and by modules beside this one people."""

import msgspec
from litestar import Response, delete, get, patch, post

from florin.kit import ids
from florin.kit.db import Database
from florin.kit.errors import IdempotencyKeyReused, NotFound
from florin.kit.http import Page, fingerprint, idempotency_key
from florin.kit.listing import Created
from florin.kit.once import Key, once
from florin.kit.openapi import responses
from florin.kit.paging import After, Limit, page
from florin.merchants import account_api, auth_api, key, member_api, program
from florin.merchants.access import Access, Caller
from florin.merchants.answering import AnyRequest, by, wrote
from florin.merchants.key import ApiKey, KeyRequest
from florin.merchants.program import Program, ProgramChange, ProgramRequest


@post("/api-keys", summary="Make an API key", responses=responses(IdempotencyKeyReused))
async def create_key(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    access: Access,
    data: KeyRequest,
    idempotency: Key = None,
) -> Response[ApiKey]:
    """The secret is in this answer and nowhere else afterwards: a repetition with the same
    Idempotency-Key makes no second key, and cannot show the secret of the first.
    """
    caller.needs("keys:write")
    made = await key.create(
        db,
        merchant=caller.merchant,
        want=data,
        allowed=caller.scopes,
        pepper_hash=access.hash_of,
        by=by(request, caller),
        location=caller.location,
        under=idempotency_key(idempotency, required=False),
    )
    await wrote(request, db)
    replayed = {"Idempotency-Replayed": "true"} if made.secret is msgspec.UNSET else None
    return Response(made, headers=replayed)


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
async def revoke_key(
    request: AnyRequest, caller: Caller, db: Database, access: Access, key_id: str
) -> ApiKey:
    """It is refused everywhere within five seconds."""
    caller.needs("keys:write")
    revoked = await key.revoke(db, by(request, caller), key_id)
    access.forget(revoked.id)
    await wrote(request, db)
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
            await program.create(tx, caller.merchant, data, program=made, by=by(request, caller))
    await wrote(request, db)
    answer = await program.find(db, caller.merchant, ids.show("prg", first))
    replayed = {"Idempotency-Replayed": "true"} if first != made else None
    return Response(answer, headers=replayed)


@get("/programs", summary="List programs", responses=responses())
async def list_programs(
    caller: Caller,
    db: Database,
    created: Created,
    limit: Limit = 20,
    starting_after: After = None,
) -> Page[Program]:
    caller.needs("programs:read")
    after = page.after("prg", starting_after)
    found = await program.listed(
        db, caller.merchant, limit=limit + 1, after=after, created=created.bounds()
    )
    return page.of(found, limit)


@get("/programs/{program_id:str}", summary="Get a program", responses=responses(NotFound))
async def get_program(caller: Caller, db: Database, program_id: str) -> Program:
    caller.needs("programs:read")
    return await program.find(db, caller.merchant, program_id)


@patch("/programs/{program_id:str}", summary="Change a program", responses=responses(NotFound))
async def change_program(
    request: AnyRequest, caller: Caller, db: Database, program_id: str, data: ProgramChange
) -> Program:
    caller.needs("programs:write")
    changed = await program.change(db, by(request, caller), program_id, data)
    await wrote(request, db)
    return changed


handlers = [
    *auth_api.handlers,
    *account_api.handlers,
    *member_api.handlers,
    create_key,
    list_keys,
    get_key,
    revoke_key,
    create_program,
    list_programs,
    get_program,
    change_program,
]
