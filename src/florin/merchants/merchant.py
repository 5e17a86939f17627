"""Merchant: a business that sells and takes cards."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import Currency, Request, Text
from florin.kit.postgres.database import Database, Reader
from florin.kit.time_zones import is_known_zone

Country = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{2}$",
        max_length=2,
        description="Two capital letters of ISO 3166-1, such as NL.",
        examples=["NL"],
    ),
]


class MerchantRequest(Request, kw_only=True):
    """`test`: the merchant has its own clock. `timezone`: where a card's last day ends."""

    name: Text
    country: Country
    currency: Currency
    timezone: Text = "UTC"
    test: bool = False


class Merchant(msgspec.Struct, kw_only=True):
    """A business with cards. `second_factor_roles`: the roles that must have a second factor."""

    id: str
    object: Literal["merchant"] = "merchant"
    name: str
    country: str
    currency: str
    timezone: str
    test: bool
    second_factor_roles: list[str]
    created_at: datetime


async def check_time_zone(database: Database, name: str, *, param: str) -> None:
    """Raises InvalidRequest unless the database knows the time zone. The ledger computes the end of
    a day in the database: with an unknown zone, every issue of the merchant would fail.
    """
    if not await is_known_zone(database, name):
        raise InvalidRequest(
            f"{name} is not a known IANA time zone; give one such as Europe/Amsterdam",
            param=param,
        )


async def find_merchant(database: Reader, merchant: UUID) -> Merchant:
    """Read a merchant. Raises NotFound."""
    row = await database.one("select * from florin.merchant where id = $1", merchant)
    if row is None:
        raise NotFound
    return merchant_from(row)


def merchant_from(row: Mapping[str, Any]) -> Merchant:
    return Merchant(
        id=ids.show_id("mer", row["id"]),
        name=row["name"],
        country=row["country"],
        currency=row["currency"],
        timezone=row["timezone"],
        test=row["test"],
        second_factor_roles=list(row["second_factor_roles"]),
        created_at=row["created_at"],
    )
