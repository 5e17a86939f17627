"""Sign in: the routes of sign-in, sign-out and sessions."""

from uuid import UUID

from litestar import delete, get, post

from florin.identity import audit_log, login, sessions
from florin.identity.authentication import Authenticator, Caller, Person
from florin.identity.credentials.passwords import Typed
from florin.identity.login import LoginRequest, MfaRequest, MfaRequired
from florin.identity.reauthentication import (
    InvalidCredentials,
    ReauthenticationRequest,
    reauthenticate,
)
from florin.identity.request_context import audit_actor, send_position
from florin.identity.services import IdentityServices
from florin.identity.sessions import Session, SignedIn, TokenReused
from florin.kit.errors import Forbidden, NotFound, Unauthenticated
from florin.kit.http.asgi import asgi_scope
from florin.kit.http.body import Page, Request
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


class RefreshRequest(Request, kw_only=True):
    refresh_token: Typed


class LogoutRequest(Request, kw_only=True):
    """`refresh_token`: of another session of yours to end as well. Optional: the refresh token of
    the current session is always revoked.
    """

    refresh_token: Typed | None = None


@post(
    "/auth/login",
    status_code=200,
    summary="Sign in",
    responses=refusal_responses(InvalidCredentials, MfaRequired, public=True),
)
async def sign_in(request: AnyRequest, identity: IdentityServices, data: LoginRequest) -> SignedIn:
    """A wrong password and an unknown address get the same response in the same time. Repeated
    failures get 429 for a while. With a second factor, 401 `mfa_required` with an `mfa_token`.
    """
    answer = await login.sign_in(identity, identity.client(request), data)
    await send_position(request, identity.database)
    return answer


@post(
    "/auth/mfa",
    status_code=200,
    summary="Sign in with the second factor",
    responses=refusal_responses(Unauthenticated, InvalidCredentials, public=True),
)
async def second_factor(
    request: AnyRequest, identity: IdentityServices, data: MfaRequest
) -> SignedIn:
    """Continue after `mfa_required`, within five minutes. A code is valid once."""
    answer = await login.sign_in_with_factor(identity, identity.client(request), data)
    await send_position(request, identity.database)
    return answer


@post(
    "/auth/refresh",
    status_code=200,
    summary="Get the next pair of tokens",
    responses=refusal_responses(Unauthenticated, TokenReused, public=True),
)
async def refresh(
    request: AnyRequest, identity: IdentityServices, data: RefreshRequest
) -> SignedIn:
    """A refresh token is valid once. If the response was lost, the same client may repeat the
    request within 10 seconds. Any other reuse means that a token was stolen: the session and all
    its tokens are revoked.
    """
    answer, actor = await sessions.refresh_session(
        identity, identity.client(request), data.refresh_token
    )
    asgi_scope(request)["actor"] = actor  # for the log
    await send_position(request, identity.database)
    return answer


@post(
    "/auth/reauthentication",
    status_code=200,
    summary="Prove again who you are",
    responses=refusal_responses(InvalidCredentials),
)
async def prove_again(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    data: ReauthenticationRequest,
) -> Session:
    """For ten minutes this session may then change members, API keys and the roles that require a
    second factor. Signing in counts as such a proof, refreshing tokens does not.
    """
    me = caller.signed_in()
    proved = await reauthenticate(identity, audit_actor(request, caller), me, data)
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return proved


@post("/auth/logout", status_code=200, summary="Sign out", responses=refusal_responses())
async def logout(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    data: LogoutRequest | None = None,
) -> Session:
    """End this session: its tokens stop working everywhere within five seconds. The same applies
    to the session of `refresh_token`, if it is yours.
    """
    me = caller.signed_in()
    other = _named(identity, me, data)
    async with identity.database.transaction() as tx:
        row = await sessions.revoke_session(tx, me.merchant, me.member, me.session)
        if row is None:
            raise Unauthenticated
        if other is not None:
            await sessions.revoke_session(tx, me.merchant, me.member, other)
        await audit_log.record_audit(tx, audit_actor(request, caller), "logout", caller.actor)
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return sessions.session_from_row(row, current=me.session)


def _named(identity: IdentityServices, me: Person, data: LogoutRequest | None) -> UUID | None:
    """The session of the refresh token, if it is this member's. An invalid token is no error
    (RFC 7009, 2.2).
    """
    presented = data.refresh_token if data is not None else None
    claims = identity.tokens.read_refresh(presented) if presented is not None else None
    if claims is None or (claims.merchant, claims.member) != (me.merchant, me.member):
        return None
    return claims.session


@get("/sessions", summary="List your sessions", responses=refusal_responses())
async def list_sessions(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[Session]:
    """Your sessions that have not ended."""
    me = caller.signed_in()
    after = Pagination.after("ses", starting_after)
    rows = await sessions.list_sessions(db, me.merchant, me.member, limit=limit + 1, after=after)
    return Pagination.of(
        [sessions.session_from_row(row, current=me.session) for row in rows], limit
    )


@get(
    "/sessions/{session_id:str}",
    summary="Get one of your sessions",
    responses=refusal_responses(NotFound),
)
async def get_session(caller: Caller, db: Database, session_id: str) -> Session:
    me = caller.signed_in()
    row = await sessions.find_session(db, me.merchant, me.member, session_id)
    return sessions.session_from_row(row, current=me.session)


@delete(
    "/sessions/{session_id:str}",
    status_code=200,
    summary="End one of your sessions",
    responses=refusal_responses(NotFound, Forbidden),
)
async def end_session(
    request: AnyRequest,
    caller: Caller,
    access: Authenticator,
    identity: IdentityServices,
    session_id: str,
) -> Session:
    """Its tokens stop working everywhere within five seconds."""
    me = caller.signed_in()
    async with identity.database.transaction() as tx:
        row = await sessions.revoke_session(
            tx, me.merchant, me.member, sessions.parse_session_id(session_id)
        )
        if row is None:
            raise NotFound
        await audit_log.record_audit(tx, audit_actor(request, caller), "session.ended", session_id)
    access.forget(caller.actor)
    await send_position(request, identity.database)
    return sessions.session_from_row(row, current=me.session)


handlers = [
    sign_in,
    second_factor,
    refresh,
    prove_again,
    logout,
    list_sessions,
    get_session,
    end_session,
]
