"""Reauthentication: proving again who one is: the password, a code; and what a wrong one is
answered.
"""

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.authentication import Person
from florin.identity.credentials import lockout, passwords
from florin.identity.credentials.lockout import LockoutKey
from florin.identity.services import IdentityServices
from florin.kit.errors import Refusal
from florin.kit.postgres.database import Tx


class InvalidCredentials(Refusal):
    """This address and this password do not belong together."""

    code = "invalid_credentials"
    status = 401


class FactorOff(Refusal):
    """There is no second factor."""

    code = "second_factor_off"
    status = 422


async def wrong_proof(tx: Tx, doors: list[LockoutKey], by: AuditActor, action: str) -> Refusal:
    """Count a wrong proof of somebody who is known; what to answer once that is committed."""
    if not await lockout.failed(tx, doors):
        return lockout.refused()
    await audit_log.record(tx, by, action, by.actor)
    return InvalidCredentials("this proof is wrong")


async def prove_password(people: IdentityServices, by: AuditActor, me: Person, typed: str) -> None:
    """Raises InvalidCredentials, RateLimited, Overloaded."""
    doors = lockout.proof(people.pepper, "password", by.actor)
    await lockout.check(people.database, doors)
    row = await people.database.one(
        "select password_hash from florin.member where merchant = $1 and id = $2",
        me.merchant,
        me.member,
    )
    right = await passwords.matches(row["password_hash"] if row else None, typed)
    async with people.database.transaction() as tx:
        await lockout.check(tx, doors)
        if right:
            await lockout.passed(tx, doors)
        refusal = None if right else await wrong_proof(tx, doors, by, "proof.failed")
    if refusal is not None:
        raise refusal


async def prove_code(
    tx: Tx, people: IdentityServices, by: AuditActor, me: Person, code: str
) -> Refusal | None:
    """Raises FactorOff, RateLimited; what to answer once the failure is committed."""
    row = await tx.one(
        "select totp_confirmed_at from florin.member where merchant = $1 and id = $2"
        " for no key update",
        me.merchant,
        me.member,
    )
    if row is None or row["totp_confirmed_at"] is None:
        raise FactorOff
    doors = lockout.proof(people.pepper, "code", by.actor)
    await lockout.check(tx, doors)
    if await people.factors.take(tx, me.merchant, me.member, code) is None:
        return await wrong_proof(tx, doors, by, "proof.failed")
    await lockout.passed(tx, doors)
    return None
