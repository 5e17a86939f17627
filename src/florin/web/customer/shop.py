"""Shop: a merchant as its customers see it, and what every page for customers shows of it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from florin.merchants.branding import Branding, branding_from
from florin.merchants.merchant import MERCHANTS, logo_path
from florin.merchants.program import PROGRAMS, Program, program_from_row
from florin.web.customer.brand import sheet_path

PROGRAMS_MAX = 20
# Cards with codes of another system are imported, not sold.
_PROGRAMS = f"{PROGRAMS} and p.for_sale and not p.imported_codes order by p.id limit $2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopFront:
    """A merchant on the pages of its customers."""

    merchant: UUID
    name: str
    timezone: str
    look: Branding

    @property
    def home(self) -> str | None:
        """Its storefront, if it is open."""
        return f"/s/{self.look.slug}" if self.look.slug else None

    @property
    def sheet(self) -> str:
        return sheet_path(self.look)

    @property
    def logo(self) -> str | None:
        return logo_path(self.merchant, self.look)


async def find_shop(database: Database, slug: str) -> ShopFront:
    """The merchant of a slug. Raises NotFound."""
    return _shop(await database.one(f"{MERCHANTS} where b.slug = $1", slug))


async def shop_of(database: Database, merchant: UUID) -> ShopFront:
    """Raises NotFound."""
    return _shop(await database.one(f"{MERCHANTS} where m.id = $1", merchant))


async def list_slugs(database: Database, *, limit: int) -> list[str]:
    """The slugs of shops, in their order."""
    rows = await database.all(
        "select slug from florin.branding where slug is not null order by slug limit $1", limit
    )
    return [row["slug"] for row in rows]


async def list_sold(database: Database, merchant: UUID) -> list[Program]:
    """The programs whose cards a storefront sells, the oldest first."""
    rows = await database.all(_PROGRAMS, merchant, PROGRAMS_MAX)
    return [program_from_row(row) for row in rows]


def _shop(row: Any) -> ShopFront:
    if row is None:
        raise NotFound
    return ShopFront(
        merchant=row["id"],
        name=row["name"],
        timezone=row["timezone"],
        look=branding_from(row),
    )
