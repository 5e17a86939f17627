"""Register: a merchant and its first member, the owner; and signing in."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from argon2 import PasswordHasher
from msgspec import Meta

from florin.kit import ids
from florin.kit.db import Database
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http import Currency, Request, Text, check_currency
from florin.merchants import token
from florin.merchants.token import Tokens

# OWASP's second equal-strength choice for argon2id: 19 MiB, two passes.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_hashing = asyncio.Semaphore(2)  # more at once would only take memory from the rest

Email = Annotated[
    str, Meta(min_length=3, max_length=254, pattern="^[^@\\s]+@[^@\\s]+$", examples=["a@shop.nl"])
]
Password = Annotated[str, Meta(min_length=10, max_length=200)]
Country = Annotated[
    str, Meta(pattern="^[A-Z]{2}$", max_length=2, description="ISO 3166.", examples=["NL"])
]


class EmailTaken(Refusal):
    """Somebody registered with this e-mail address before."""

    code = "email_taken"
    status = 422


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
    """A business whose cards these are."""

    id: str
    object: Literal["merchant"] = "merchant"
    name: str
    country: str
    currency: str
    timezone: str
    test: bool
    created_at: datetime


class User(msgspec.Struct, kw_only=True):
    """A member of a merchant's staff."""

    id: str
    object: Literal["user"] = "user"
    email: str
    role: str
    created_at: datetime


class Registered(msgspec.Struct, kw_only=True):
    merchant: Merchant
    user: User
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a kind, not a secret
    expires_in: int = token.ACCESS_S


async def register(database: Database, tokens: Tokens, want: RegisterRequest) -> Registered:
    """Raises EmailTaken, InvalidRequest."""
    email = want.email.lower()
    check_currency(want.merchant.currency, param="merchant.currency")
    check_zone(want.merchant.timezone)
    async with _hashing:
        password_hash = await asyncio.to_thread(_hasher.hash, want.password)
    merchant, member = ids.new(), ids.new()
    async with database.transaction() as tx:
        # An address is used once in the installation. A unique key would have to begin with the
        # merchant, so two who register with it at once are ordered by a lock on its hash.
        number = int.from_bytes(hashlib.sha256(email.encode()).digest()[:8], "big", signed=True)
        await tx.run("select pg_advisory_xact_lock($1)", number)
        if await tx.one("select 1 from florin.member where email = $1 limit 1", email):
            raise EmailTaken(param="email")
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
        member_row = await tx.one(
            "insert into florin.member (merchant, id, email, password_hash, role)"
            " values ($1, $2, $3, $4, 'owner') returning *",
            merchant,
            member,
            email,
            password_hash,
        )
    assert merchant_row is not None
    assert member_row is not None
    return Registered(
        merchant=merchant_from(merchant_row),
        user=user_from(member_row),
        access_token=tokens.access(merchant, member),
        refresh_token=tokens.refresh(merchant, member),
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
        created_at=row["created_at"],
    )


def user_from(row: Mapping[str, Any]) -> User:
    return User(
        id=ids.show("usr", row["id"]),
        email=row["email"],
        role=row["role"],
        created_at=row["created_at"],
    )
