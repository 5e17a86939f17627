"""Login: sign in with the password, then with the second factor if it is on.

A wrong password and an unknown address get the same response in the same time: the same
statements run and a password hash is checked whether or not the member exists. The remaining
difference (the audit record of a member's failure) is hidden by padding the response time.
"""

from uuid import UUID

from florin.identity import audit_log, sessions
from florin.identity.credentials import lockout, passwords
from florin.identity.credentials.jwt import CHALLENGE_S, ChallengeClaims, password_state
from florin.identity.credentials.lockout import LockoutKey
from florin.identity.credentials.passwords import Typed
from florin.identity.network_limits import SIGN_INS
from florin.identity.reauthentication import InvalidCredentials, record_wrong_proof
from florin.identity.services import IdentityServices, RequestOrigin
from florin.identity.sessions import SignedIn
from florin.kit import ids
from florin.kit.email_address import normalized
from florin.kit.errors import Overloaded, Refusal, Unauthenticated
from florin.kit.http import constant_time
from florin.kit.http.body import Request
from florin.kit.postgres.database import Row, Tx

_MEMBER = """
select m.merchant, m.id, m.password_hash, m.totp_confirmed_at is not null as second_factor,
  exists (select from florin.session s
    where s.merchant = m.merchant and s.member = m.id and s.address_hash = $2) as known
from florin.member m where m.email = $1 limit 1
"""
# A shared lock: concurrent sign-ins do not wait for each other. A password change waits for them
# and then revokes their sessions.
_LOCK_UNCHANGED = """
select email from florin.member where merchant = $1 and id = $2 and password_hash = $3 for share
"""
# An exclusive lock: of concurrent attempts each is counted before the next one is checked.
_LOCK_CHALLENGED = """
select password_hash from florin.member where merchant = $1 and id = $2 for no key update
"""


class MfaRequired(Refusal):
    """A second factor is required: send its code with `mfa_token` to /auth/mfa."""

    code = "mfa_required"
    status = 401


class LoginRequest(Request, kw_only=True):
    email: Typed
    password: Typed


class MfaRequest(Request, kw_only=True):
    """`code`: six digits from the authenticator, or a recovery code."""

    mfa_token: Typed
    code: Typed


async def sign_in(
    identity: IdentityServices, client: RequestOrigin, request: LoginRequest
) -> SignedIn:
    """Raises InvalidCredentials, MfaRequired, RateLimited, Overloaded."""
    await identity.limits.take(SIGN_INS, client.address)
    began = constant_time.start_timer()
    email = normalized(request.email)
    row = await identity.database.one(_MEMBER, email, client.place)
    known = row is not None and row["known"]
    locks = lockout.sign_in_locks(identity.pepper, email=email, network=client.network, known=known)
    await lockout.require_unlocked(identity.database, locks)
    right = await passwords.password_matches(
        row["password_hash"] if row else None, request.password
    )
    async with identity.database.transaction() as tx:
        if row is None or not right or not await _password_unchanged(tx, row):
            answer: Refusal | SignedIn = await _fail(tx, locks, row, client)
        else:
            await lockout.require_unlocked(tx, locks)
            await lockout.record_success(tx, locks)
            answer = await _succeed(tx, identity, client, row)
    if row is not None and right and passwords.is_outdated_hash(row["password_hash"]):
        await _upgrade_hash(identity, row, request.password)
    if isinstance(answer, Refusal):
        await constant_time.pad_response_time(began)
        raise answer
    return answer


async def sign_in_with_factor(
    identity: IdentityServices, client: RequestOrigin, request: MfaRequest
) -> SignedIn:
    """Raises Unauthenticated, InvalidCredentials, RateLimited."""
    challenged = identity.tokens.read_challenge(request.mfa_token)
    if challenged is None:
        raise Unauthenticated("mfa_token is invalid or expired: sign in again")
    merchant, member = challenged.merchant, challenged.member
    by = client.audit_actor(merchant, ids.show_id("usr", member))
    locks = lockout.proof_locks(identity.pepper, "code", by.actor)
    answer: Refusal | SignedIn
    async with identity.database.transaction() as tx:
        await _require_challenge(tx, challenged)
        await lockout.require_unlocked(tx, locks)
        taken = await identity.factors.take(tx, merchant, member, request.code)
        if taken is None:
            answer = await record_wrong_proof(tx, locks, by, "login.failed")
        else:
            await lockout.record_success(tx, locks)
            answer = await sessions.begin_session(
                tx, identity, client, merchant, member, second_factor=True
            )
            await audit_log.record_audit(tx, by, "login.succeeded", by.actor, after={"by": taken})
    if isinstance(answer, Refusal):
        raise answer
    return answer


async def _succeed(
    tx: Tx, identity: IdentityServices, client: RequestOrigin, row: Row
) -> SignedIn | Refusal:
    merchant, member = row["merchant"], row["id"]
    if row["second_factor"]:
        state = password_state(row["password_hash"])
        token = identity.tokens.challenge(merchant, member, state)
        return MfaRequired(extra={"mfa_token": token, "expires_in": CHALLENGE_S})
    answer = await sessions.begin_session(
        tx, identity, client, merchant, member, second_factor=False
    )
    by = client.audit_actor(merchant, ids.show_id("usr", member))
    await audit_log.record_audit(tx, by, "login.succeeded", by.actor, after={"by": "password"})
    return answer


async def _fail(tx: Tx, locks: list[LockoutKey], row: Row | None, client: RequestOrigin) -> Refusal:
    if not await lockout.record_failure(tx, locks):
        return lockout.lockout_refusal()
    if row is not None:
        by = client.audit_actor(row["merchant"], audit_log.ANONYMOUS)
        await audit_log.record_audit(tx, by, "login.failed", ids.show_id("usr", row["id"]))
    return InvalidCredentials()


async def _password_unchanged(tx: Tx, row: Row) -> bool:
    """Whether the password that was checked is still the password of the member."""
    args: tuple[UUID, UUID, str] = (row["merchant"], row["id"], row["password_hash"])
    return await tx.one(_LOCK_UNCHANGED, *args) is not None


async def _require_challenge(tx: Tx, challenged: ChallengeClaims) -> None:
    current = await tx.value(_LOCK_CHALLENGED, challenged.merchant, challenged.member)
    if current is None or password_state(current) != challenged.state:
        raise Unauthenticated("mfa_token is invalid or expired: sign in again")


async def _upgrade_hash(identity: IdentityServices, row: Row, typed: str) -> None:
    """Replace an outdated password hash with a stronger one. If too many passwords are being hashed
    now, the next sign-in does it.
    """
    try:
        stronger = await passwords.hash_password(typed)
    except Overloaded:
        return
    async with identity.database.transaction() as tx:
        await tx.run(
            "update florin.member set password_hash = $4"
            " where merchant = $1 and id = $2 and password_hash = $3",
            row["merchant"],
            row["id"],
            row["password_hash"],
            stronger,
        )
