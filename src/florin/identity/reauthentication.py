"""Reauthentication: a signed-in member proves the identity again, by password and code."""

from florin.identity import audit_log, sessions
from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Person
from florin.identity.credentials import lockout, passwords
from florin.identity.credentials.lockout import LockoutKey
from florin.identity.credentials.passwords import Typed
from florin.identity.network_limits import PASSWORDS_PER_MEMBER
from florin.identity.services import IdentityServices
from florin.identity.sessions import Session
from florin.kit.errors import InvalidRequest, Refusal, Unauthenticated
from florin.kit.http.body import Request
from florin.kit.postgres.database import Tx

_FACTOR_ON = """
select totp_confirmed_at is not null from florin.member where merchant = $1 and id = $2
"""
_PROVED = """
update florin.session set proved_at = clock_timestamp()
where merchant = $1 and id = $2 and member = $3
  and revoked_at is null and expires_at > clock_timestamp() returning *
"""


class InvalidCredentials(Refusal):
    """The e-mail address or the password is wrong."""

    code = "invalid_credentials"
    status = 401


class FactorOff(Refusal):
    """The second factor is off: set one up with POST /auth/totp first."""

    code = "second_factor_off"
    status = 422


class ReauthenticationRequest(Request, kw_only=True):
    """`code`: from the authenticator, or a recovery code; required if the second factor is on."""

    password: Typed
    code: Typed | None = None


async def record_wrong_proof(
    tx: Tx, locks: list[LockoutKey], by: AuditActor, action: str
) -> Refusal:
    """Count a wrong proof of a known member; return the refusal to raise after the commit."""
    if not await lockout.record_failure(tx, locks):
        return lockout.lockout_refusal()
    await audit_log.record_audit(tx, by, action, by.actor)
    return InvalidCredentials("The password or the code is wrong")


async def prove_password(
    identity: IdentityServices, by: AuditActor, me: Person, typed: str
) -> None:
    """Raises InvalidCredentials, RateLimited, Overloaded."""
    await identity.limits.take_of(PASSWORDS_PER_MEMBER, by.actor)
    locks = lockout.proof_locks(identity.pepper, "password", by.actor)
    await lockout.require_unlocked(identity.database, locks)
    row = await identity.database.one(
        "select password_hash from florin.member where merchant = $1 and id = $2",
        me.merchant,
        me.member,
    )
    right = await passwords.password_matches(row["password_hash"] if row else None, typed)
    async with identity.database.transaction() as tx:
        await lockout.require_unlocked(tx, locks)
        if right:
            await lockout.record_success(tx, locks)
        refusal = None if right else await record_wrong_proof(tx, locks, by, "proof.failed")
    if refusal is not None:
        raise refusal


async def prove_code(
    tx: Tx, identity: IdentityServices, by: AuditActor, me: Person, code: str
) -> Refusal | None:
    """Check a code; return the refusal to raise after the commit. Raises FactorOff, RateLimited."""
    row = await tx.one(
        "select totp_confirmed_at from florin.member where merchant = $1 and id = $2"
        " for no key update",
        me.merchant,
        me.member,
    )
    if row is None or row["totp_confirmed_at"] is None:
        raise FactorOff
    locks = lockout.proof_locks(identity.pepper, "code", by.actor)
    await lockout.require_unlocked(tx, locks)
    if await identity.factors.take(tx, me.merchant, me.member, code) is None:
        return await record_wrong_proof(tx, locks, by, "proof.failed")
    await lockout.record_success(tx, locks)
    return None


async def reauthenticate(
    identity: IdentityServices, by: AuditActor, me: Person, request: ReauthenticationRequest
) -> Session:
    """Prove in this session everything that a new sign-in would require.

    Raises InvalidRequest, InvalidCredentials, RateLimited, Unauthenticated, Overloaded.
    """
    await prove_password(identity, by, me, request.password)
    refusal: Refusal | None = None
    async with identity.database.transaction() as tx:
        if await tx.value(_FACTOR_ON, me.merchant, me.member):
            if request.code is None:
                raise InvalidRequest("code is required: the second factor is on", param="code")
            refusal = await prove_code(tx, identity, by, me, request.code)
        if refusal is None:
            row = await tx.one(_PROVED, me.merchant, me.session, me.member)
            if row is None:
                raise Unauthenticated
            await audit_log.record_audit(tx, by, "reauthenticated", by.actor)
            return sessions.session_from_row(row, current=me.session)
    raise refusal
