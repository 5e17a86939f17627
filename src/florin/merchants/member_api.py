"""Member API: the routes of members, of what a merchant asks of them, and of the audit."""

from litestar import delete, get, patch, post

from florin.kit.db import Database
from florin.kit.errors import NotFound
from florin.kit.http import Page
from florin.kit.openapi import responses
from florin.kit.paging import After, Limit, page
from florin.merchants import audit, member, password, second_factor
from florin.merchants.access import Access, Caller
from florin.merchants.answering import AnyRequest, by, wrote
from florin.merchants.audit import Record
from florin.merchants.member import EmailTaken, LastOwner, MemberChange, MemberRequest, User
from florin.merchants.people import People
from florin.merchants.policy import MerchantChange, change
from florin.merchants.register import Merchant, merchant_from


@post("/members", summary="Add a member", responses=responses(EmailTaken))
async def add_member(
    request: AnyRequest, caller: Caller, people: People, data: MemberRequest
) -> User:
    """Without a password the member is invited and chooses one. Nobody gives a role that allows
    more than he himself is allowed.
    """
    caller.needs("members:write")
    hashed = await password.make_hash(data.password) if data.password is not None else None
    made = await member.create(
        people.database,
        people.letters,
        by(request, caller),
        data,
        allowed=caller.scopes,
        password_hash=hashed,
    )
    await wrote(request, people.database)
    return made


@get("/members", summary="List members", responses=responses())
async def list_members(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[User]:
    caller.needs("members:read")
    after = page.after("usr", starting_after)
    return page.of(await member.listed(db, caller.merchant, limit=limit + 1, after=after), limit)


@get("/members/{member_id:str}", summary="Get a member", responses=responses(NotFound))
async def get_member(caller: Caller, db: Database, member_id: str) -> User:
    caller.needs("members:read")
    return await member.find(db, caller.merchant, member_id)


@patch(
    "/members/{member_id:str}",
    summary="Change a member's role",
    responses=responses(NotFound, LastOwner),
)
async def change_member(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    access: Access,
    member_id: str,
    data: MemberChange,
) -> User:
    """It holds everywhere within five seconds."""
    caller.needs("members:write")
    who = by(request, caller)
    changed = await member.change(db, who, member_id, data.role, allowed=caller.scopes)
    access.forget(changed.id)
    await wrote(request, db)
    return changed


@delete(
    "/members/{member_id:str}",
    status_code=200,
    summary="Remove a member",
    responses=responses(NotFound, LastOwner),
)
async def remove_member(
    request: AnyRequest, caller: Caller, db: Database, access: Access, member_id: str
) -> User:
    """What he signed in with is refused everywhere within five seconds."""
    caller.needs("members:write")
    removed = await member.remove(db, by(request, caller), member_id, allowed=caller.scopes)
    access.forget(removed.id)
    await wrote(request, db)
    return removed


@post(
    "/members/{member_id:str}/reset-second-factor",
    status_code=200,
    summary="Take a member's lost second factor away",
    responses=responses(NotFound),
)
async def reset_second_factor(
    request: AnyRequest, caller: Caller, db: Database, access: Access, member_id: str
) -> User:
    """For who lost authenticator and recovery codes. Every sign-in of his ends."""
    caller.needs("members:write")
    user = await second_factor.reset(db, by(request, caller), member_id, allowed=caller.scopes)
    access.forget(user.id)
    await wrote(request, db)
    return user


@get("/merchant", summary="Get your merchant", responses=responses())
async def get_merchant(caller: Caller, db: Database) -> Merchant:
    row = await db.one("select * from florin.merchant where id = $1", caller.merchant)
    if row is None:
        raise NotFound
    return merchant_from(row)


@patch("/merchant", summary="Change what is asked of members", responses=responses())
async def change_merchant(
    request: AnyRequest, caller: Caller, db: Database, data: MerchantChange
) -> Merchant:
    """`second_factor_roles`: members of these may do nothing until they have set one up. Holds
    everywhere within five seconds.
    """
    caller.needs("members:write")
    changed = await change(db, by(request, caller), data)
    await wrote(request, db)
    return changed


@get("/audit", summary="List what was administered", responses=responses())
async def list_audit(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> Page[Record]:
    """Who changed what, from what to what, the latest first."""
    caller.needs("audit:read")
    found = await audit.listed(
        db,
        caller.merchant,
        limit=limit + 1,
        after=page.after("aud", starting_after),
        actor=actor,
        action=action,
        subject=subject,
    )
    return page.of(found, limit)


@get("/audit/{record_id:str}", summary="Get an audit record", responses=responses(NotFound))
async def get_audit(caller: Caller, db: Database, record_id: str) -> Record:
    caller.needs("audit:read")
    return await audit.find(db, caller.merchant, record_id)


handlers = [
    add_member,
    list_members,
    get_member,
    change_member,
    remove_member,
    reset_second_factor,
    get_merchant,
    change_merchant,
    list_audit,
    get_audit,
]
