"""Account: what members do about their own: passwords, addresses, second factors, and what is
asked for by whoever cannot sign in. Those answers are one, and take as long, whoever asks.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.db import Tx
from florin.kit.errors import Refusal, Unauthenticated
from florin.kit.http import Request
from florin.merchants import audit, factor, lockout, member, password, session
from florin.merchants.access import Person
from florin.merchants.audit import By
from florin.merchants.factor import Enrolment, RecoveryCodes
from florin.merchants.letter import Kind
from florin.merchants.login import InvalidCredentials, wrong_proof
from florin.merchants.member import Email, User
from florin.merchants.password import Password, Typed
from florin.merchants.people import Client, People

Code = Annotated[str, Meta(min_length=6, max_length=40)]


class FactorAlreadyOn(Refusal):
    """There is a second factor already: turn it off first."""

    code = "second_factor_already_on"
    status = 422


class FactorOff(Refusal):
    """There is no second factor."""

    code = "second_factor_off"
    status = 422


class EmailRequest(Request, kw_only=True):
    email: Email


class TokenRequest(Request, kw_only=True):
    """`token`: as it was sent."""

    token: Typed


class NewPasswordRequest(Request, kw_only=True):
    """`token`: as it was sent; `password`: the new one."""

    token: Typed
    password: Password


class ChangePasswordRequest(Request, kw_only=True):
    current_password: Typed
    password: Password


class PasswordProof(Request, kw_only=True):
    """Your password again: whoever found a console open must not change how it is opened."""

    password: Typed


class CodeProof(Request, kw_only=True):
    code: Code


class FactorProof(Request, kw_only=True):
    """`code`: of the authenticator, or a recovery code."""

    password: Typed
    code: Code


class Accepted(msgspec.Struct, kw_only=True):
    """If this address is a member's, a letter is on its way. If not, this is answered as well."""

    object: Literal["request"] = "request"
    accepted: bool = True


async def ask(people: People, client: Client, kind: Kind, email: str) -> Accepted:
    """Write a letter to whom the address belongs. Too many at once are not written."""
    email = email.lower()
    doors = lockout.letters(people.pepper, email=email, network=client.network)
    async with people.database.transaction() as tx:
        allowed = await lockout.failed(tx, doors)
        found = await tx.one(
            "select merchant, id from florin.member where email = $1 limit 1", email
        )
        # For nobody the same statements run, on nobody's row.
        merchant, who = (found["merchant"], found["id"]) if found and allowed else _nobody()
        await people.letters.write(tx, merchant, who, kind)
        if found and allowed:
            by = client.by(merchant, audit.NOBODY)
            await audit.record(tx, by, f"{kind}.requested", ids.show("usr", who))
    return Accepted()


async def set_password(
    people: People, client: Client, kind: Kind, want: NewPasswordRequest
) -> User:
    """Set the password of whoever was sent the token, and sign him out everywhere.

    Raises LetterInvalid, Overloaded.
    """
    hashed = await password.make_hash(want.password)
    async with people.database.transaction() as tx:
        letter = await people.letters.take(tx, kind, want.token)
        merchant, who = letter["merchant"], letter["member"]
        row = await tx.one(
            "update florin.member set password_hash = $3,"
            " email_verified_at = coalesce(email_verified_at, clock_timestamp())"
            " where merchant = $1 and id = $2 returning *",
            merchant,
            who,
            hashed,
        )
        assert row is not None, "letters go with their member"
        # Begun and ended: he who reads the member's mail is known here from now on, so that
        # strangers' failures cannot keep him out (see lockout.py).
        await session.begin(tx, people, client, merchant, who, second_factor=False)
        await session.revoke_all(tx, merchant, who)
        by = client.by(merchant, ids.show("usr", who))
        await audit.record(tx, by, "password.set", by.actor, after={"by": kind})
    return member.from_row(row)


async def verify(people: People, client: Client, token: str) -> User:
    """Raises LetterInvalid."""
    async with people.database.transaction() as tx:
        letter = await people.letters.take(tx, "email_verification", token)
        row = await tx.one(
            "update florin.member set"
            " email_verified_at = coalesce(email_verified_at, clock_timestamp())"
            " where merchant = $1 and id = $2 returning *",
            letter["merchant"],
            letter["member"],
        )
        assert row is not None, "letters go with their member"
        by = client.by(letter["merchant"], ids.show("usr", letter["member"]))
        await audit.record(tx, by, "email.verified", by.actor)
    return member.from_row(row)


async def change_password(people: People, by: By, me: Person, want: ChangePasswordRequest) -> User:
    """Change your own; your other sign-ins end. Raises InvalidCredentials, RateLimited."""
    await _prove(people, by, me, want.current_password)
    hashed = await password.make_hash(want.password)
    async with people.database.transaction() as tx:
        row = await tx.one(
            "update florin.member set password_hash = $3 where merchant = $1 and id = $2"
            " returning *",
            me.merchant,
            me.member,
            hashed,
        )
        if row is None:
            raise Unauthenticated
        await session.revoke_all(tx, me.merchant, me.member, but=me.session)
        await audit.record(tx, by, "password.changed", by.actor)
    return member.from_row(row)


async def enrol(people: People, by: By, me: Person, typed: str) -> Enrolment:
    """Raises InvalidCredentials, FactorAlreadyOn, RateLimited."""
    await _prove(people, by, me, typed)
    async with people.database.transaction() as tx:
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
        enrolment = await people.factors.enrol(tx, me.merchant, me.member, row["email"])
        await audit.record(tx, by, "second_factor.begun", by.actor)
    return enrolment


async def confirm(people: People, by: By, me: Person, code: str) -> RecoveryCodes:
    """Turn it on: this sign-in counts as proved, your others end. Raises InvalidCredentials."""
    async with people.database.transaction() as tx:
        codes = await people.factors.confirm(tx, me.merchant, me.member, code)
        if codes is None:
            raise InvalidCredentials("this is not the code of the authenticator now")
        await tx.run(
            "update florin.session set second_factor = true where merchant = $1 and id = $2",
            me.merchant,
            me.session,
        )
        await session.revoke_all(tx, me.merchant, me.member, but=me.session)
        await audit.record(tx, by, "second_factor.on", by.actor)
    return RecoveryCodes(recovery_codes=codes)


async def renew_recovery(people: People, by: By, me: Person, want: FactorProof) -> RecoveryCodes:
    """Raises InvalidCredentials, FactorOff, RateLimited."""
    await _prove(people, by, me, want.password)
    async with people.database.transaction() as tx:
        refusal = await _prove_factor(tx, people, by, me, want.code)
        if refusal is None:
            codes = await people.factors.new_recovery(tx, me.merchant, me.member)
            await audit.record(tx, by, "second_factor.recovery_renewed", by.actor)
            return RecoveryCodes(recovery_codes=codes)
    raise refusal


async def disable(people: People, by: By, me: Person, want: FactorProof) -> User:
    """Raises InvalidCredentials, FactorOff, RateLimited."""
    await _prove(people, by, me, want.password)
    async with people.database.transaction() as tx:
        refusal = await _prove_factor(tx, people, by, me, want.code)
        if refusal is None:
            await factor.remove(tx, me.merchant, me.member)
            await audit.record(tx, by, "second_factor.off", by.actor)
    if refusal is not None:
        raise refusal
    return await member.find(people.database, me.merchant, by.actor)


async def _prove(people: People, by: By, me: Person, typed: str) -> None:
    """Raises InvalidCredentials, RateLimited, Overloaded."""
    doors = lockout.proof(people.pepper, "password", by.actor)
    await lockout.check(people.database, doors)
    row = await people.database.one(
        "select password_hash from florin.member where merchant = $1 and id = $2",
        me.merchant,
        me.member,
    )
    right = await password.matches(row["password_hash"] if row else None, typed)
    async with people.database.transaction() as tx:
        await lockout.check(tx, doors)
        if right:
            await lockout.passed(tx, doors)
        refusal = None if right else await wrong_proof(tx, doors, by, "proof.failed")
    if refusal is not None:
        raise refusal


async def _prove_factor(tx: Tx, people: People, by: By, me: Person, code: str) -> Refusal | None:
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


def _nobody() -> tuple[UUID, UUID]:
    return ids.new(), ids.new()
