"""API keys: the routes."""

import msgspec
from litestar import Response, delete, get, post

from florin.identity import api_key_revocation, api_keys
from florin.identity.api_keys import ApiKey, KeyRequest
from florin.identity.authentication import (
    Authenticator,
    Caller,
    EmailNotVerified,
    ReauthenticationRequired,
)
from florin.identity.request_context import audit_actor, send_position
from florin.kit.errors import IdempotencyKeyReused, NotFound, QuotaExceeded
from florin.kit.http.body import Page, idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


@post(
    "/api-keys",
    summary="Create an API key",
    responses=refusal_responses(
        IdempotencyKeyReused, EmailNotVerified, ReauthenticationRequired, QuotaExceeded
    ),
)
async def create_key(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    access: Authenticator,
    data: KeyRequest,
    idempotency: Key = "",
) -> Response[ApiKey]:
    """The secret is only in this response. Repeating the request with the same Idempotency-Key
    creates no second key and does not show the secret again.
    """
    caller.needs("keys:write")
    made = await api_keys.create_key(
        db,
        merchant=caller.merchant,
        request=data,
        allowed=caller.scopes,
        pepper_hash=access.hash_of,
        by=audit_actor(request, caller),
        session=caller.person.session if caller.person is not None else None,
        location=caller.location,
        under=idempotency_key(idempotency, required=False),
    )
    await send_position(request, db)
    replayed = {"Idempotency-Replayed": "true"} if made.secret is msgspec.UNSET else None
    return Response(made, headers=replayed)


@get("/api-keys", summary="List API keys", responses=refusal_responses())
async def list_keys(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[ApiKey]:
    caller.needs("keys:write")
    after = Pagination.after("key", starting_after)
    return Pagination.of(
        await api_keys.list_keys(db, caller.merchant, limit=limit + 1, after=after), limit
    )


@get("/api-keys/{key_id:str}", summary="Get an API key", responses=refusal_responses(NotFound))
async def get_key(caller: Caller, db: Database, key_id: str) -> ApiKey:
    caller.needs("keys:write")
    return await api_keys.find_key(db, caller.merchant, key_id)


@delete(
    "/api-keys/{key_id:str}",
    status_code=200,
    summary="Revoke an API key",
    responses=refusal_responses(NotFound, ReauthenticationRequired),
)
async def revoke_key(
    request: AnyRequest, caller: Caller, db: Database, access: Authenticator, key_id: str
) -> ApiKey:
    """The key and the keys that it created stop working everywhere within five seconds. A key
    cannot revoke a key that has more scopes or is for another location.
    """
    caller.needs("keys:write")
    revoked = await api_key_revocation.revoke(
        db, audit_actor(request, caller), key_id, allowed=caller.scopes, location=caller.location
    )
    access.forget(revoked.id)
    await send_position(request, db)
    return revoked


handlers = [
    create_key,
    list_keys,
    get_key,
    revoke_key,
]
