"""Branding: how a merchant looks on the pages, mails and vouchers of its customers.

Two colours and an image. Text on the card is black or white, whichever reads better (at least
4.5 : 1 on any colour), so only the second colour, of its lines, can be refused.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from florin.kit.colors import measure_contrast
from florin.kit.errors import InvalidRequest, NotFound, Refusal
from florin.kit.postgres.database import Database, Tx
from florin.merchants.images import ImageInvalid, read_image

CARD_COLOR, LINE_COLOR = "#1D3B5C", "#E9BE6B"
LOGO_BYTES, LOGO_LEAST, LOGO_MOST = 96_000, 32, 1024
_LINES_LEAST = 3.0  # contrast of a graphical object (WCAG 2.2, 1.4.11)
_URL = re.compile(r"data:(image/(?:png|jpeg));base64,([A-Za-z0-9+/]+={0,2})")

Slug = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=40,
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)",
        description="The merchant's part of its addresses: small letters, digits, single hyphens.",
        examples=["harbour-rye"],
    ),
]
Color = Annotated[
    str,
    Meta(
        max_length=7,
        pattern=r"^#[0-9A-Fa-f]{6}$(?!\n)",
        description="A colour as # with six hexadecimal digits.",
        examples=["#1D3B5C"],
    ),
]
LogoUrl = Annotated[
    str,
    Meta(
        max_length=130_000,
        pattern=r"^data:image/[a-z]+;base64,[A-Za-z0-9+/=]+$(?!\n)",
        description="A PNG or JPEG image as a data URL (RFC 2397), at most 96 kB.",
        examples=["data:image/png;base64,iVBORw0KGgo="],
    ),
]


class SlugTaken(Refusal):
    """Another merchant has this slug; choose another one."""

    code = "slug_taken"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """An image whose type and size were checked. `tag`: names its content in addresses."""

    kind: str
    content: bytes

    @property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:20]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branding:
    """How a merchant looks. `logo`: the tag of its image."""

    slug: str | None
    card_color: str
    line_color: str
    logo: str | None


def branding_from(row: Mapping[str, Any]) -> Branding:
    """The branding in a row with the columns of `florin.branding`, or without."""
    return Branding(
        slug=row.get("slug"),
        card_color=row.get("card_color") or CARD_COLOR,
        line_color=row.get("line_color") or LINE_COLOR,
        logo=row.get("logo_tag"),
    )


def read_logo(url: str) -> Logo:
    """Read a data URL: its bytes decide, not what it claims; they are stored without what does not
    belong to the picture. Raises InvalidRequest.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise InvalidRequest("an image is a data URL of type image/png or image/jpeg", param="logo")
    try:
        content = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        raise InvalidRequest("the data URL is not valid base64", param="logo") from None
    if len(content) > LOGO_BYTES:
        raise InvalidRequest(
            f"the image has {len(content)} bytes; at most {LOGO_BYTES} are accepted", param="logo"
        )
    try:
        picture = read_image(content, side_max=LOGO_MOST)
    except ImageInvalid:
        picture = None
    if picture is None or picture.kind != match[1]:
        raise InvalidRequest(f"the content is not a valid {match[1]} image", param="logo")
    if not all(LOGO_LEAST <= side <= LOGO_MOST for side in (picture.width, picture.height)):
        raise InvalidRequest(
            f"the image has {picture.width} x {picture.height} pixels; each side must have"
            f" {LOGO_LEAST} to {LOGO_MOST}",
            param="logo",
        )
    return Logo(kind=picture.kind, content=picture.content)


def check_colors(card: str, line: str) -> None:
    """Raises InvalidRequest if the lines could not be seen on the card."""
    contrast = measure_contrast(card, line)
    if contrast < _LINES_LEAST:
        raise InvalidRequest(
            f"{line} on {card} has a contrast of {contrast:.1f} : 1; choose two colours with at"
            f" least {_LINES_LEAST:.0f} : 1",
            param="line_color",
        )


async def require_free_slug(tx: Tx, merchant: UUID, slug: str) -> None:
    """Hold a slug until the transaction ends. Raises SlugTaken."""
    # An index that does not begin with the merchant cannot be unique, so changes follow each other.
    number = hashlib.sha256(b"slug\0" + slug.encode()).digest()[:8]
    await tx.run("select pg_advisory_xact_lock($1)", int.from_bytes(number, "big", signed=True))
    taken = await tx.one(
        "select 1 from florin.branding where slug = $1 and merchant <> $2", slug, merchant
    )
    if taken is not None:
        raise SlugTaken(f"Another merchant has the slug {slug}; choose another one", param="slug")


async def find_logo(database: Database, merchant: UUID, tag: str) -> Logo:
    """Raises NotFound, also for an image that was replaced."""
    row = await database.one(
        "select logo, logo_kind from florin.branding where merchant = $1 and logo_tag = $2",
        merchant,
        tag,
    )
    if row is None:
        raise NotFound
    return Logo(kind=row["logo_kind"], content=row["logo"])
