"""Members: the routes of members and of the audit log."""

from litestar import delete, get, patch, post

from florin.identity import audit_log, members, second_factor
from florin.identity.audit_log import AuditRecord
from florin.identity.authentication import Authenticator, Caller, ReauthenticationRequired
from florin.identity.members import EmailTaken, LastOwner, MemberChange, MemberRequest, User
from florin.identity.request_context import audit_actor, send_position
from florin.identity.services import IdentityServices
from florin.kit.errors import NotFound, QuotaExceeded
from florin.kit.http.body import Page
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


@post(
    "/members",
    summary="Add a member",
    responses=refusal_responses(EmailTaken, ReauthenticationRequired, QuotaExceeded),
)
async def add_member(
    request: AnyRequest, caller: Caller, identity: IdentityServices, data: MemberRequest
) -> User:
    """Without a password, the member is invited by e-mail and chooses one. You cannot give a role
    with scopes that you do not have.
    """
    caller.needs("members:write")
    made = await members.create_member(
        identity, audit_actor(request, caller), data, allowed=caller.scopes
    )
    await send_position(request, identity.database)
    return made


@get("/members", summary="List members", responses=refusal_responses())
async def list_members(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[User]:
    caller.needs("members:read")
    after = Pagination.after("usr", starting_after)
    return Pagination.of(
        await members.list_members(db, caller.merchant, limit=limit + 1, after=after), limit
    )


@get("/members/{member_id:str}", summary="Get a member", responses=refusal_responses(NotFound))
async def get_member(caller: Caller, db: Database, member_id: str) -> User:
    caller.needs("members:read")
    return await members.find_member(db, caller.merchant, member_id)


@patch(
    "/members/{member_id:str}",
    summary="Change a member's role",
    responses=refusal_responses(NotFound, LastOwner, ReauthenticationRequired),
)
async def change_member(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    access: Authenticator,
    member_id: str,
    data: MemberChange,
) -> User:
    """The change takes effect everywhere within five seconds. API keys of the member with scopes
    that the new role lacks are revoked, unless `keep_keys` is set.
    """
    caller.needs("members:write")
    who = audit_actor(request, caller)
    changed = await members.change_member(db, who, member_id, data, allowed=caller.scopes)
    access.forget(changed.id)
    await send_position(request, db)
    return changed


@delete(
    "/members/{member_id:str}",
    status_code=200,
    summary="Remove a member",
    responses=refusal_responses(NotFound, LastOwner, ReauthenticationRequired),
)
async def remove_member(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    access: Authenticator,
    member_id: str,
    keep_keys: bool = False,
) -> User:
    """The member's sessions stop working everywhere within five seconds, and so do the API keys
    that the member created, unless `keep_keys` is set.
    """
    caller.needs("members:write")
    who = audit_actor(request, caller)
    removed = await members.remove_member(
        db, who, member_id, allowed=caller.scopes, keep_keys=keep_keys
    )
    access.forget(removed.id)
    await send_position(request, db)
    return removed


@post(
    "/members/{member_id:str}/reset-second-factor",
    status_code=200,
    summary="Reset a member's second factor",
    responses=refusal_responses(NotFound, ReauthenticationRequired),
)
async def reset_second_factor(
    request: AnyRequest, caller: Caller, db: Database, access: Authenticator, member_id: str
) -> User:
    """For another member who lost the authenticator and the recovery codes. All sessions of that
    member end.
    """
    caller.needs("members:write")
    user = await second_factor.reset_factor(
        db, audit_actor(request, caller), member_id, allowed=caller.scopes
    )
    access.forget(user.id)
    await send_position(request, db)
    return user


@get("/audit", summary="List audit records", responses=refusal_responses())
async def list_audit(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> Page[AuditRecord]:
    """Who changed what, with the old and new values, latest first."""
    caller.needs("audit:read")
    found = await audit_log.list_records(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("aud", starting_after),
        actor=actor,
        action=action,
        subject=subject,
    )
    return Pagination.of(found, limit)


@get("/audit/{record_id:str}", summary="Get an audit record", responses=refusal_responses(NotFound))
async def get_audit(caller: Caller, db: Database, record_id: str) -> AuditRecord:
    caller.needs("audit:read")
    return await audit_log.find_record(db, caller.merchant, record_id)


handlers = [
    add_member,
    list_members,
    get_member,
    change_member,
    remove_member,
    reset_second_factor,
    list_audit,
    get_audit,
]
