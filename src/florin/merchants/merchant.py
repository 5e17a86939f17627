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
from florin.merchants.branding import Branding, branding_from

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
    """A business with cards. `second_factor_roles`: the roles that must have a second factor.
    `slug`: its storefront is at `/s/{slug}`; null: it has none. `card_color` and `line_color`: how
    its cards look; `logo`: the path of its image.
    """

    id: str
    object: Literal["merchant"] = "merchant"
    name: str
    country: str
    currency: str
    timezone: str
    test: bool
    second_factor_roles: list[str]
    slug: str | None
    card_color: str
    line_color: str
    logo: str | None
    created_at: datetime


MERCHANTS = """
select m.*, b.slug, b.card_color, b.line_color, b.logo_tag
from florin.merchant m left join florin.branding b on b.merchant = m.id
"""


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
    row = await database.one(f"{MERCHANTS} where m.id = $1", merchant)
    if row is None:
        raise NotFound
    return merchant_from(row)


def logo_path(merchant: UUID, look: Branding) -> str | None:
    """Where the image of a merchant is: another address for each image."""
    return f"/brand/{ids.show_id('mer', merchant)}/{look.logo}" if look.logo else None


def merchant_from(row: Mapping[str, Any]) -> Merchant:
    look = branding_from(row)
    return Merchant(
        id=ids.show_id("mer", row["id"]),
        name=row["name"],
        country=row["country"],
        currency=row["currency"],
        timezone=row["timezone"],
        test=row["test"],
        second_factor_roles=list(row["second_factor_roles"]),
        slug=look.slug,
        card_color=look.card_color,
        line_color=look.line_color,
        logo=logo_path(row["id"], look),
        created_at=row["created_at"],
    )
