"""Register: a merchant and its first member, the owner, who is signed in at once."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http import Currency, Request, Text, check_country, check_currency
from florin.merchants import audit, member, password, session
from florin.merchants.member import Email, User
from florin.merchants.password import Password
from florin.merchants.people import Client, People
from florin.merchants.session import SignedIn

Country = Annotated[
    str, Meta(pattern="^[A-Z]{2}$", max_length=2, description="ISO 3166.", examples=["NL"])
]


class SignupClosed(Refusal):
    """New merchants cannot register here."""

    code = "signup_closed"
    status = 403


class MerchantRequest(Request, kw_only=True):
    """`test` gives the merchant a clock of its own. Cards expire at the end of a day there."""

    name: Text
    country: Country
    currency: Currency
    timezone: Text = "UTC"
    test: bool = False


class RegisterRequest(Request, kw_only=True):
    email: Email
    password: Password
    merchant: MerchantRequest


class Merchant(msgspec.Struct, kw_only=True):
    """A business whose cards these are. `second_factor_roles`: who must have a second factor."""

    id: str
    object: Literal["merchant"] = "merchant"
    name: str
    country: str
    currency: str
    timezone: str
    test: bool
    second_factor_roles: list[str]
    created_at: datetime


class Registered(SignedIn, kw_only=True):
    merchant: Merchant
    user: User


async def register(people: People, client: Client, want: RegisterRequest) -> Registered:
    """Raises EmailTaken, InvalidRequest, Overloaded."""
    check_country(want.merchant.country, param="merchant.country")
    check_currency(want.merchant.currency, param="merchant.currency")
    check_zone(want.merchant.timezone)
    password_hash = await password.make_hash(want.password)
    merchant, owner = ids.new(), ids.new()
    by = client.by(merchant, ids.show("usr", owner))
    async with people.database.transaction() as tx:
        merchant_row = await tx.one(
            "insert into florin.merchant (id, name, country, currency, timezone, test)"
            " values ($1, $2, $3, $4, $5, $6) returning *",
            merchant,
            want.merchant.name,
            want.merchant.country,
            want.merchant.currency,
            want.merchant.timezone,
            want.merchant.test,
        )
        member_row = await member.add(
            tx,
            merchant=merchant,
            member=owner,
            email=want.email.lower(),
            role="owner",
            password_hash=password_hash,
        )
        await people.letters.write(tx, merchant, owner, "email_verification")
        signed_in = await session.begin(tx, people, client, merchant, owner, second_factor=False)
        facts = {"name": want.merchant.name, "owner": by.actor}
        await audit.record(tx, by, "merchant.registered", ids.show("mer", merchant), after=facts)
    assert merchant_row is not None
    return Registered(
        merchant=merchant_from(merchant_row),
        user=member.from_row(member_row),
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
    )


def check_zone(name: str) -> None:
    """Raises InvalidRequest for a time zone nobody knows."""
    # The machine's own files beside the zones ("localtime", "posixrules") are none.
    if name not in _zones():
        raise InvalidRequest(
            f"{name} is no IANA time zone, such as Europe/Amsterdam", param="merchant.timezone"
        )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"Factory"}


def merchant_from(row: Mapping[str, Any]) -> Merchant:
    return Merchant(
        id=ids.show("mer", row["id"]),
        name=row["name"],
        country=row["country"],
        currency=row["currency"],
        timezone=row["timezone"],
        test=row["test"],
        second_factor_roles=list(row["second_factor_roles"]),
        created_at=row["created_at"],
    )
