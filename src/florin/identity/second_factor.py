"""Second factor: members set it up, turn it off and renew recovery codes; owners reset it."""

from typing import Annotated

from msgspec import Meta

from florin.identity import audit_log, members, sessions
from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Person
from florin.identity.credentials import lockout, totp
from florin.identity.credentials.passwords import Typed
from florin.identity.credentials.totp import Enrolment, RecoveryCodes
from florin.identity.members import User
from florin.identity.reauthentication import prove_code, prove_password, record_wrong_proof
from florin.identity.services import IdentityServices
from florin.kit import ids
from florin.kit.errors import Forbidden, Refusal, Unauthenticated
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database

Code = Annotated[str, Meta(min_length=6, max_length=40)]

# Of concurrent attempts each is counted before the next one is checked.
_ALONE = "select 1 from florin.member where merchant = $1 and id = $2 for no key update"


class FactorAlreadyOn(Refusal):
    """The second factor is already on: turn it off first."""

    code = "second_factor_already_on"
    status = 422


class PasswordProof(Request, kw_only=True):
    """Your password again: an unattended session must not be enough to change the sign-in."""

    password: Typed


class CodeProof(Request, kw_only=True):
    code: Code


class FactorProof(Request, kw_only=True):
    """`code`: from the authenticator, or a recovery code."""

    password: Typed
    code: Code


async def enrol_factor(
    identity: IdentityServices, by: AuditActor, me: Person, typed: str
) -> Enrolment:
    """Raises InvalidCredentials, FactorAlreadyOn, RateLimited."""
    await prove_password(identity, by, me, typed)
    async with identity.database.transaction() as tx:
        row = await tx.one(
            "select email, totp_confirmed_at from florin.member"
            " where merchant = $1 and id = $2 for no key update",
            me.merchant,
            me.member,
        )
        if row is None:
            raise Unauthenticated
        if row["totp_confirmed_at"] is not None:
            raise FactorAlreadyOn
        enrolment = await identity.factors.enrol(tx, me.merchant, me.member, row["email"])
        await audit_log.record_audit(tx, by, "second_factor.begun", by.actor)
    return enrolment


async def confirm_factor(
    identity: IdentityServices, by: AuditActor, me: Person, code: str
) -> RecoveryCodes:
    """Turn the second factor on: this session counts as proved, your other sessions end.

    Raises InvalidCredentials, RateLimited.
    """
    locks = lockout.proof_locks(identity.pepper, "code", by.actor)
    async with identity.database.transaction() as tx:
        await tx.one(_ALONE, me.merchant, me.member)
        await lockout.require_unlocked(tx, locks)
        codes = await identity.factors.confirm(tx, me.merchant, me.member, code)
        if codes is not None:
            await lockout.record_success(tx, locks)
            await tx.run(
                "update florin.session set second_factor = true where merchant = $1 and id = $2",
                me.merchant,
                me.session,
            )
            await sessions.revoke_sessions(tx, me.merchant, me.member, but=me.session)
            await audit_log.record_audit(tx, by, "second_factor.on", by.actor)
            return RecoveryCodes(recovery_codes=codes)
        refusal = await record_wrong_proof(tx, locks, by, "proof.failed")
    raise refusal


async def renew_recovery_codes(
    identity: IdentityServices, by: AuditActor, me: Person, request: FactorProof
) -> RecoveryCodes:
    """Raises InvalidCredentials, FactorOff, RateLimited."""
    await prove_password(identity, by, me, request.password)
    async with identity.database.transaction() as tx:
        refusal = await prove_code(tx, identity, by, me, request.code)
        if refusal is None:
            codes = await identity.factors.new_recovery(tx, me.merchant, me.member)
            await audit_log.record_audit(tx, by, "second_factor.recovery_renewed", by.actor)
            return RecoveryCodes(recovery_codes=codes)
    raise refusal


async def disable_factor(
    identity: IdentityServices, by: AuditActor, me: Person, request: FactorProof
) -> User:
    """Raises InvalidCredentials, FactorOff, RateLimited."""
    await prove_password(identity, by, me, request.password)
    async with identity.database.transaction() as tx:
        refusal = await prove_code(tx, identity, by, me, request.code)
        if refusal is None:
            await totp.remove_factor(tx, me.merchant, me.member)
            await audit_log.record_audit(tx, by, "second_factor.off", by.actor)
    if refusal is not None:
        raise refusal
    return await members.find_member(identity.database, me.merchant, by.actor)


async def reset_factor(
    database: Database, by: AuditActor, text: str, *, allowed: frozenset[str]
) -> User:
    """Turn off the second factor of a member who lost it, and end all their sessions.

    Raises NotFound, Forbidden.
    """
    async with database.transaction() as tx:
        was = await members.lock_member(tx, by.merchant, text)
        if ids.show_id("usr", was["id"]) == by.actor:
            raise Forbidden(
                "This is your own second factor: turn it off with POST /auth/totp/disable"
            )
        members.require_role_within(allowed, was["role"])
        await totp.remove_factor(tx, by.merchant, was["id"])
        await sessions.revoke_sessions(tx, by.merchant, was["id"])
        await audit_log.record_audit(tx, by, "member.second_factor_reset", text)
        row = await members.lock_member(tx, by.merchant, text)
    return members.member_from_row(row)
