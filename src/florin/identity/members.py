"""Members: a merchant's staff and their roles.

A caller cannot give, change or remove a role with scopes that the caller lacks. A merchant always
has an owner who can sign in.
"""

import hashlib
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.identity import audit_log
from florin.identity.api_key_revocation import revoke_made_by
from florin.identity.audit_log import AuditActor
from florin.identity.credentials import passwords
from florin.identity.credentials.password_rules import check_password
from florin.identity.credentials.passwords import Password
from florin.identity.network_limits import PASSWORDS_PER_MERCHANT, TAKEN_PER_MERCHANT
from florin.identity.quotas import require_quota_left
from florin.identity.scopes import ROLES
from florin.identity.services import IdentityServices
from florin.kit import ids
from florin.kit.email_address import Email, normalized
from florin.kit.errors import Forbidden, NotFound, Refusal
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database, Row, Tx

Role = Literal["owner", "manager", "cashier", "viewer"]


class EmailTaken(Refusal):
    """This e-mail address is already registered: sign in, or use another address."""

    code = "email_taken"
    status = 422


class LastOwner(Refusal):
    """This is the last owner who can sign in: make another member owner first."""

    code = "last_owner"
    status = 422


class MemberRequest(Request, kw_only=True):
    """Without a password, the member is invited by e-mail and chooses one."""

    email: Email
    role: Role
    password: Password | None = None


class MemberChange(Request, kw_only=True):
    """`keep_keys`: keep API keys of the member that have scopes which the new role lacks."""

    role: Role
    keep_keys: bool = False


class User(msgspec.Struct, kw_only=True):
    """A member of a merchant's staff. `invited`: has not chosen a password yet; `removed`: only in
    the response to the removal.
    """

    id: str
    object: Literal["user"] = "user"
    email: str
    role: str
    state: Literal["active", "invited", "removed"]
    email_verified: bool
    second_factor: bool
    created_at: datetime


async def add_member(
    tx: Tx, *, merchant: UUID, member: UUID, email: str, role: str, password_hash: str | None
) -> Row:
    """Raises EmailTaken.

    An address is unique in the installation. A unique key would have to begin with the merchant,
    so an advisory lock on the address's hash orders concurrent inserts.
    """
    number = int.from_bytes(hashlib.sha256(email.encode()).digest()[:8], "big", signed=True)
    await tx.run("select pg_advisory_xact_lock($1)", number)
    if await tx.one("select 1 from florin.member where email = $1 limit 1", email):
        raise EmailTaken(param="email")
    row = await tx.one(
        "insert into florin.member (merchant, id, email, password_hash, role)"
        " values ($1, $2, $3, $4, $5) returning *",
        merchant,
        member,
        email,
        password_hash,
        role,
    )
    assert row is not None
    return row


async def require_unknown(database: Database, email: str) -> None:
    """Raises EmailTaken for the address of a member. It saves hashing the password; the lock in
    `add_member` is what guarantees uniqueness.
    """
    if await database.one("select 1 from florin.member where email = $1 limit 1", email):
        raise EmailTaken(param="email")


async def create_member(
    identity: IdentityServices, by: AuditActor, request: MemberRequest, *, allowed: frozenset[str]
) -> User:
    """Raises Forbidden, EmailTaken, InvalidRequest, QuotaExceeded, RateLimited, Overloaded."""
    require_role_within(allowed, request.role)
    password_hash = await _first_password(identity, by, request)
    member = ids.new_id()
    async with identity.database.transaction() as tx:
        await require_quota_left(tx, by.merchant, "members")
        row = await add_member(
            tx,
            merchant=by.merchant,
            member=member,
            email=normalized(request.email),
            role=request.role,
            password_hash=password_hash,
        )
        if password_hash is None:
            await identity.email_tokens.write(tx, by.merchant, member, "invitation")
        user = member_from_row(row)
        await audit_log.record_audit(tx, by, "member.created", user.id, after=_facts(user))
    return user


async def _first_password(
    identity: IdentityServices, by: AuditActor, request: MemberRequest
) -> str | None:
    """The hash of the requested password, if any; computed after all other checks."""
    merchant, email = by.merchant.hex, normalized(request.email)
    try:
        await require_unknown(identity.database, email)
    except EmailTaken:
        await identity.limits.take_of(TAKEN_PER_MERCHANT, merchant)
        raise
    if request.password is None:
        return None
    check_password(request.password, email=email)
    await identity.limits.take_of(PASSWORDS_PER_MERCHANT, merchant)
    return await passwords.hash_password(request.password)


async def change_member(
    database: Database, by: AuditActor, text: str, request: MemberChange, *, allowed: frozenset[str]
) -> User:
    """Raises NotFound, Forbidden, LastOwner."""
    role = request.role
    async with database.transaction() as tx:
        was = await lock_member(tx, by.merchant, text)
        if was["role"] == role:
            return member_from_row(was)
        require_role_within(allowed, was["role"])
        require_role_within(allowed, role)
        await _require_other_owner(tx, was)
        row = await tx.one(
            "update florin.member set role = $3 where merchant = $1 and id = $2 returning *",
            by.merchant,
            was["id"],
            role,
        )
        assert row is not None
        await audit_log.record_audit(
            tx, by, "member.changed", text, before={"role": was["role"]}, after={"role": role}
        )
        if not request.keep_keys:
            await revoke_made_by(tx, by, ids.show_id("usr", was["id"]), beyond=ROLES[role])
    return member_from_row(row)


async def remove_member(
    database: Database,
    by: AuditActor,
    text: str,
    *,
    allowed: frozenset[str],
    keep_keys: bool = False,
) -> User:
    """Raises NotFound, Forbidden, LastOwner."""
    async with database.transaction() as tx:
        was = await lock_member(tx, by.merchant, text)
        require_role_within(allowed, was["role"])
        await _require_other_owner(tx, was)
        await tx.run(
            "delete from florin.member where merchant = $1 and id = $2", by.merchant, was["id"]
        )
        await audit_log.record_audit(
            tx, by, "member.removed", text, before=_facts(member_from_row(was))
        )
        if not keep_keys:
            await revoke_made_by(tx, by, ids.show_id("usr", was["id"]))
    return msgspec.structs.replace(member_from_row(was), state="removed")


async def list_members(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None
) -> list[User]:
    rows = await database.all(
        "select * from florin.member where merchant = $1 and ($2::uuid is null or id < $2)"
        " order by id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [member_from_row(row) for row in rows]


async def find_member(database: Database, merchant: UUID, text: str) -> User:
    """Raises NotFound."""
    return member_from_row(await _row(database, merchant, parse_member_id(text)))


def member_from_row(row: Row) -> User:
    return User(
        id=ids.show_id("usr", row["id"]),
        email=row["email"],
        role=row["role"],
        state="invited" if row["password_hash"] is None else "active",
        email_verified=row["email_verified_at"] is not None,
        second_factor=row["totp_confirmed_at"] is not None,
        created_at=row["created_at"],
    )


def parse_member_id(text: str) -> UUID:
    """Raises NotFound."""
    return ids.require_id("usr", text)


def require_role_within(allowed: frozenset[str], role: str) -> None:
    if not ROLES[role] <= allowed:
        raise Forbidden(f"The role {role} has scopes that you do not have")


def _facts(user: User) -> dict[str, str]:
    return {"email": user.email, "role": user.role, "state": user.state}


async def _row(database: Database | Tx, merchant: UUID, member: UUID) -> Row:
    row = await database.one(
        "select * from florin.member where merchant = $1 and id = $2", merchant, member
    )
    if row is None:
        raise NotFound
    return row


async def lock_member(tx: Tx, merchant: UUID, text: str) -> Row:
    # All owners are locked first, in order: of two owners who remove each other, the second waits
    # and sees that the first is gone.
    await tx.all(
        "select id from florin.member where merchant = $1 and role = 'owner'"
        " order by id for update",
        merchant,
    )
    row = await tx.one(
        "select * from florin.member where merchant = $1 and id = $2 for update",
        merchant,
        parse_member_id(text),
    )
    if row is None:
        raise NotFound
    return row


async def _require_other_owner(tx: Tx, was: Row) -> None:
    if was["role"] == "owner" and not await tx.one(
        "select 1 from florin.member where merchant = $1 and role = 'owner' and id <> $2"
        " and password_hash is not null limit 1",
        was["merchant"],
        was["id"],
    ):
        raise LastOwner
