"""Auth API: the routes of signing in and out."""

from typing import Literal
from uuid import UUID

import msgspec
from litestar import delete, get, post

from florin.kit.db import Database
from florin.kit.errors import Forbidden, NotFound, Unauthenticated
from florin.kit.http import Page, Request
from florin.kit.openapi import responses
from florin.kit.paging import After, Limit, page
from florin.kit.settings import Settings
from florin.merchants import audit, login, member, session
from florin.merchants.access import Access, Caller, Person
from florin.merchants.answering import AnyRequest, by, wrote
from florin.merchants.login import LoginRequest, MfaRequest, MfaRequired
from florin.merchants.member import EmailTaken, User
from florin.merchants.password import Typed
from florin.merchants.people import People
from florin.merchants.proof import InvalidCredentials
from florin.merchants.register import (
    Merchant,
    Registered,
    RegisterRequest,
    SignupClosed,
    merchant_from,
    register,
)
from florin.merchants.session import Session, SignedIn, TokenReused


class RefreshRequest(Request, kw_only=True):
    refresh_token: Typed


class LogoutRequest(Request, kw_only=True):
    """`refresh_token`: of another sign-in of yours that is to end as well. It may be left out: with
    the sign-in that asks, its own refresh token ends anyway.
    """

    refresh_token: Typed | None = None


class Me(msgspec.Struct, kw_only=True):
    """Who you are, and what you may do. `location`: the only one where this key redeems."""

    object: Literal["caller"] = "caller"
    actor: str
    scopes: list[str]
    location: str | None
    merchant: Merchant
    user: User | None


@post(
    "/auth/register",
    summary="Register a merchant",
    responses=responses(EmailTaken, SignupClosed, public=True),
)
async def register_merchant(
    request: AnyRequest, people: People, settings: Settings, data: RegisterRequest
) -> Registered:
    """Make a merchant with you as its owner, and sign you in."""
    if settings.signup == "closed":
        raise SignupClosed
    registered = await register(people, people.client(request), data)
    await wrote(request, people.database)
    return registered


@post(
    "/auth/login",
    status_code=200,
    summary="Sign in",
    responses=responses(InvalidCredentials, MfaRequired, public=True),
)
async def sign_in(request: AnyRequest, people: People, data: LoginRequest) -> SignedIn:
    """One answer, and no faster, for a wrong password and for an address nobody has. After repeated
    failures 429 for a while. With a second factor 401 `mfa_required` and `mfa_token`.
    """
    answer = await login.login(people, people.client(request), data)
    await wrote(request, people.database)
    return answer


@post(
    "/auth/mfa",
    status_code=200,
    summary="Sign in: the second factor",
    responses=responses(Unauthenticated, InvalidCredentials, public=True),
)
async def second_factor(request: AnyRequest, people: People, data: MfaRequest) -> SignedIn:
    """Go on after `mfa_required`, within five minutes. A code is taken once."""
    answer = await login.second(people, people.client(request), data)
    await wrote(request, people.database)
    return answer


@post(
    "/auth/refresh",
    status_code=200,
    summary="Get the next pair of tokens",
    responses=responses(Unauthenticated, TokenReused, public=True),
)
async def refresh(request: AnyRequest, people: People, data: RefreshRequest) -> SignedIn:
    """A refresh token is good once. If the answer was lost the same client may repeat the request
    within 10 seconds. A token that comes back otherwise was stolen: all that came of its sign-in
    is void.
    """
    answer, actor = await session.refresh(people, people.client(request), data.refresh_token)
    request.scope["actor"] = actor  # pyright: ignore[reportGeneralTypeIssues] -- the log's
    await wrote(request, people.database)
    return answer


@post("/auth/logout", status_code=200, summary="Sign out", responses=responses())
async def logout(
    request: AnyRequest,
    caller: Caller,
    access: Access,
    people: People,
    data: LogoutRequest | None = None,
) -> Session:
    """End this sign-in: its tokens are refused everywhere within five seconds. So are those of a
    `refresh_token` that is given, if it is yours.
    """
    me = caller.signed_in()
    other = _named(people, me, data)
    async with people.database.transaction() as tx:
        row = await session.revoke(tx, me.merchant, me.member, me.session)
        if row is None:
            raise Unauthenticated
        if other is not None:
            await session.revoke(tx, me.merchant, me.member, other)
        await audit.record(tx, by(request, caller), "logout", caller.actor)
    access.forget(caller.actor)
    await wrote(request, people.database)
    return session.from_row(row, current=me.session)


def _named(people: People, me: Person, data: LogoutRequest | None) -> UUID | None:
    """The sign-in of the refresh token, where it is this member's. What is wrong with one is not
    told (RFC 7009, 2.2).
    """
    presented = data.refresh_token if data is not None else None
    claims = people.tokens.read_refresh(presented) if presented is not None else None
    if claims is None or (claims.merchant, claims.member) != (me.merchant, me.member):
        return None
    return claims.session


@get("/auth/me", summary="Who am I?", responses=responses())
async def me(caller: Caller, db: Database) -> Me:
    merchant = await db.one("select * from florin.merchant where id = $1", caller.merchant)
    assert merchant is not None, "merchants are never deleted"
    try:
        user = await member.find(db, caller.merchant, caller.actor) if caller.person else None
    except NotFound:
        raise Unauthenticated from None  # removed a moment ago
    return Me(
        actor=caller.actor,
        scopes=sorted(caller.scopes),
        location=caller.location,
        merchant=merchant_from(merchant),
        user=user,
    )


@get("/sessions", summary="List your sign-ins", responses=responses())
async def list_sessions(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[Session]:
    """Where you are signed in."""
    me = caller.signed_in()
    after = page.after("ses", starting_after)
    rows = await session.listed(db, me.merchant, me.member, limit=limit + 1, after=after)
    return page.of([session.from_row(row, current=me.session) for row in rows], limit)


@get(
    "/sessions/{session_id:str}",
    summary="Get one of your sign-ins",
    responses=responses(NotFound),
)
async def get_session(caller: Caller, db: Database, session_id: str) -> Session:
    me = caller.signed_in()
    row = await session.find(db, me.merchant, me.member, session_id)
    return session.from_row(row, current=me.session)


@delete(
    "/sessions/{session_id:str}",
    status_code=200,
    summary="End one of your sign-ins",
    responses=responses(NotFound, Forbidden),
)
async def end_session(
    request: AnyRequest, caller: Caller, access: Access, people: People, session_id: str
) -> Session:
    """Its tokens are refused everywhere within five seconds."""
    me = caller.signed_in()
    async with people.database.transaction() as tx:
        row = await session.revoke(tx, me.merchant, me.member, session.session_id(session_id))
        if row is None:
            raise NotFound
        await audit.record(tx, by(request, caller), "session.ended", session_id)
    access.forget(caller.actor)
    await wrote(request, people.database)
    return session.from_row(row, current=me.session)


handlers = [
    register_merchant,
    sign_in,
    second_factor,
    refresh,
    logout,
    me,
    list_sessions,
    get_session,
    end_session,
]
