"""Profile: members change their own password and verify their e-mail address; callers who cannot
sign in request a password reset. Those requests get the same response in the same time whether or
not the address belongs to a member.
"""

from typing import Literal
from uuid import UUID

import msgspec

from florin.identity import audit_log, members, sessions
from florin.identity.api_key_revocation import revoke_made_by
from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Person
from florin.identity.credentials import lockout, passwords
from florin.identity.credentials.email_tokens import EmailTokenInvalid, Kind
from florin.identity.credentials.password_rules import check_password
from florin.identity.credentials.passwords import Password, Typed
from florin.identity.members import User
from florin.identity.network_limits import PASSWORDS_PER_TOKEN, WRONG_TOKENS
from florin.identity.reauthentication import prove_password
from florin.identity.services import IdentityServices, RequestOrigin
from florin.kit import ids
from florin.kit.email_address import Email, normalized
from florin.kit.errors import Unauthenticated
from florin.kit.http import constant_time
from florin.kit.http.body import Request
from florin.kit.postgres.database import Row


class EmailRequest(Request, kw_only=True):
    email: Email


class TokenRequest(Request, kw_only=True):
    """`token`: from the e-mail."""

    token: Typed


class NewPasswordRequest(Request, kw_only=True):
    """`token`: from the e-mail; `password`: the new one."""

    token: Typed
    password: Password


class ResetRequest(NewPasswordRequest, kw_only=True):
    """`keep_keys`: keep the API keys that you created. Without it they are revoked, since anyone
    who knew the old password may have created some.
    """

    keep_keys: bool = False


class ChangePasswordRequest(Request, kw_only=True):
    current_password: Typed
    password: Password


class Accepted(msgspec.Struct, kw_only=True):
    """If the address belongs to a member, an e-mail is sent. The response is always the same."""

    object: Literal["request"] = "request"
    accepted: bool = True


async def request_email_token(
    identity: IdentityServices, client: RequestOrigin, kind: Kind, email: str
) -> Accepted:
    """Queue an e-mail with a token to the member with this address, up to a limit per address."""
    began = constant_time.start_timer()
    email = normalized(email)
    locks = lockout.email_locks(identity.pepper, email=email, network=client.network)
    async with identity.database.transaction() as tx:
        allowed = await lockout.record_failure(tx, locks)
        found = await tx.one(
            "select merchant, id from florin.member where email = $1 limit 1", email
        )
        # For an unknown address the same statements run, with ids that no row has.
        merchant, member = (
            (found["merchant"], found["id"]) if found and allowed else _unknown_member()
        )
        await identity.email_tokens.write(tx, merchant, member, kind)
        if found and allowed:
            by = client.audit_actor(merchant, audit_log.ANONYMOUS)
            await audit_log.record_audit(tx, by, f"{kind}.requested", ids.show_id("usr", member))
    await constant_time.pad_response_time(began)
    return Accepted()


async def set_password(
    identity: IdentityServices, client: RequestOrigin, kind: Kind, request: NewPasswordRequest
) -> User:
    """Set the password of the member whom the token was sent to, and end all their sessions.

    The token is looked up first: no password is hashed for a wrong token, and only a limited number
    for a right one, however many concurrent requests use it.

    Raises EmailTokenInvalid, RateLimited, Overloaded.
    """
    check_password(request.password)
    found = await _find_token(identity, client, kind, request.token)
    await identity.limits.take_of(PASSWORDS_PER_TOKEN, found["id"].hex)
    hashed = await passwords.hash_password(request.password)
    async with identity.database.transaction() as tx:
        token_row = await identity.email_tokens.take(tx, kind, request.token)
        merchant, member = token_row["merchant"], token_row["member"]
        row = await tx.one(
            "update florin.member set password_hash = $3,"
            " email_verified_at = coalesce(email_verified_at, clock_timestamp())"
            " where merchant = $1 and id = $2 returning *",
            merchant,
            member,
            hashed,
        )
        assert row is not None, "e-mail tokens are deleted with their member"
        # A session is begun and ended at once: it makes this network known for the member, so that
        # failures from other networks cannot lock the member out (see lockout.py).
        await sessions.begin_session(tx, identity, client, merchant, member, second_factor=False)
        await sessions.revoke_sessions(tx, merchant, member)
        by = client.audit_actor(merchant, ids.show_id("usr", member))
        await audit_log.record_audit(tx, by, "password.set", by.actor, after={"by": kind})
        if isinstance(request, ResetRequest) and not request.keep_keys:
            await revoke_made_by(tx, by, by.actor)
    return members.member_from_row(row)


async def verify_email(identity: IdentityServices, client: RequestOrigin, token: str) -> User:
    """Mark the address as verified. Raises EmailTokenInvalid, RateLimited."""
    await _find_token(identity, client, "email_verification", token)
    async with identity.database.transaction() as tx:
        token_row = await identity.email_tokens.take(tx, "email_verification", token)
        row = await tx.one(
            "update florin.member set"
            " email_verified_at = coalesce(email_verified_at, clock_timestamp())"
            " where merchant = $1 and id = $2 returning *",
            token_row["merchant"],
            token_row["member"],
        )
        assert row is not None, "e-mail tokens are deleted with their member"
        by = client.audit_actor(token_row["merchant"], ids.show_id("usr", token_row["member"]))
        await audit_log.record_audit(tx, by, "email.verified", by.actor)
    return members.member_from_row(row)


async def change_password(
    identity: IdentityServices, by: AuditActor, me: Person, request: ChangePasswordRequest
) -> User:
    """Change your password; your other sessions end. Raises InvalidCredentials, RateLimited."""
    check_password(request.password)
    await prove_password(identity, by, me, request.current_password)
    hashed = await passwords.hash_password(request.password)
    async with identity.database.transaction() as tx:
        row = await tx.one(
            "update florin.member set password_hash = $3 where merchant = $1 and id = $2"
            " returning *",
            me.merchant,
            me.member,
            hashed,
        )
        if row is None:
            raise Unauthenticated
        await sessions.revoke_sessions(tx, me.merchant, me.member, but=me.session)
        await audit_log.record_audit(tx, by, "password.changed", by.actor)
    return members.member_from_row(row)


async def _find_token(
    identity: IdentityServices, client: RequestOrigin, kind: Kind, token: str
) -> Row:
    """Find the member of a token; count wrong ones. Raises EmailTokenInvalid, RateLimited."""
    await identity.limits.check(WRONG_TOKENS, client.address)
    try:
        return await identity.email_tokens.find(identity.database, kind, token)
    except EmailTokenInvalid:
        await identity.limits.count(WRONG_TOKENS, client.address)
        raise


def _unknown_member() -> tuple[UUID, UUID]:
    return ids.new_id(), ids.new_id()
