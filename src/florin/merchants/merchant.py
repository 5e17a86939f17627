"""Merchant: a business whose cards these are, and what it says of itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Currency, Request, Text
from florin.kit.postgres.database import Database
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
    """`test` gives the merchant a clock of its own. Cards expire at the end of a day there."""

    name: Text
    country: Country
    currency: Currency
    timezone: Text = "UTC"
    test: bool = False


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


async def check_time_zone(database: Database, name: str, *, param: str) -> None:
    """Raises InvalidRequest. The ledger computes the end of a day in the database: with a zone that
    it does not know every issue of the merchant would fail.
    """
    if not await is_known_zone(database, name):
        raise InvalidRequest(
            f"{name} is not an IANA time zone that the database knows, such as Europe/Amsterdam",
            param=param,
        )


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
