"""Account: what members do about their own: passwords, addresses, second factors, and what is
asked for by whoever cannot sign in. Those answers are one, and take as long, whoever asks.
"""

from typing import Literal
from uuid import UUID

import msgspec

from florin.kit import evenly, ids
from florin.kit.errors import Unauthenticated
from florin.kit.http import Request
from florin.merchants import audit, lockout, member, password, session
from florin.merchants.access import Person
from florin.merchants.audit import By
from florin.merchants.letter import Kind
from florin.merchants.member import Email, User
from florin.merchants.password import Password, Typed
from florin.merchants.people import Client, People
from florin.merchants.proof import prove_password


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


class Accepted(msgspec.Struct, kw_only=True):
    """If this address is a member's, a letter is on its way. If not, this is answered as well."""

    object: Literal["request"] = "request"
    accepted: bool = True


async def ask(people: People, client: Client, kind: Kind, email: str) -> Accepted:
    """Write a letter to whom the address belongs. Too many at once are not written."""
    began = evenly.now()
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
    await evenly.leave(began)
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
    await prove_password(people, by, me, want.current_password)
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


def _nobody() -> tuple[UUID, UUID]:
    return ids.new(), ids.new()
