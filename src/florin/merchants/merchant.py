"""Merchant: a business whose cards these are, and what it says of itself."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Currency, Request, Text

Country = Annotated[
    str, Meta(pattern="^[A-Z]{2}$", max_length=2, description="ISO 3166.", examples=["NL"])
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
