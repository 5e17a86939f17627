"""Brand: the sheet that dresses a page as its merchant, and the merchant's image.

The address of a sheet is its two colours, so it is the same for ever and needs no look-up.
"""

import re

from litestar import Response, get

from florin.kit import ids
from florin.kit.colors import ink_on, mix_colors, readable_shade
from florin.kit.errors import NotFound
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.static_files import cache_body, send_cached
from florin.kit.postgres.database import Database
from florin.merchants.branding import Branding, check_colors, find_logo
from florin.web.pages import PAGE

_NAME = re.compile(r"([0-9A-F]{6})-([0-9A-F]{6})\.css")
_LIGHT = ("#FFFFFF", "#F4F6F2", "#E9EEE8")  # the grounds of text, light and dark: see florin.css
_DARK = ("#161E1B", "#0E1412", "#0A0F0D")
_IMAGE_POLICY = "default-src 'none'; sandbox"


def sheet_path(look: Branding) -> str:
    """The address of a merchant's sheet."""
    return f"/brand/{look.card_color[1:]}-{look.line_color[1:]}.css"


def draw_sheet(card: str, line: str) -> str:
    """The sheet of two colours, each `#` with six digits. Text reads at 4.5 : 1 or more."""
    ink = ink_on(card)
    soft = mix_colors(card, "#FFFFFF", 0.88)
    text = readable_shade(card, "#000000", (*_LIGHT, soft))
    dark_soft = mix_colors(card, _DARK[0], 0.82)
    dark = readable_shade(card, "#FFFFFF", (*_DARK, dark_soft))
    hover = mix_colors(card, "#000000" if ink == "#FFFFFF" else "#FFFFFF", 0.25)
    dark_hover = mix_colors(dark, "#FFFFFF", 0.35)
    names = ("brand", "brand-h", "brand-ink", "brand-soft", "brand-text")
    light_values = (card, hover, ink, soft, text)
    dark_values = (dark, dark_hover, ink_on(dark), dark_soft, dark)
    plain = ";".join(f"--{name}:{value}" for name, value in zip(names, light_values, strict=True))
    both = ";".join(
        f"--{name}:light-dark({light},{night})"
        for name, light, night in zip(names, light_values, dark_values, strict=True)
    )
    return (
        f":root{{--card-bg:{card};--card-ink:{ink};--card-line:{mix_colors(card, ink, 0.6)};"
        f"--card-gold:{line}}}\n.m{{{plain}}}\n"
        f"@supports (color:light-dark(#000,#fff)){{.m{{{both}}}}}\n"
    )


@get("/brand/{colors:str}", **PAGE)
async def brand_sheet(request: AnyRequest, colors: str) -> Response[bytes]:
    match = _NAME.fullmatch(colors)
    if match is None:
        raise NotFound
    card, line = f"#{match[1]}", f"#{match[2]}"
    check_colors(card, line)
    return send_cached(
        request, cache_body(draw_sheet(card, line).encode(), "text/css"), forever=True
    )


@get("/brand/{merchant:str}/{logo:str}", **PAGE)
async def brand_logo(
    request: AnyRequest, db: Database, merchant: str, logo: str
) -> Response[bytes]:
    found = await find_logo(db, ids.require_id("mer", merchant), logo)
    return send_cached(
        request,
        cache_body(found.content, found.kind),
        forever=True,
        content_security_policy=_IMAGE_POLICY,
    )


handlers = [brand_sheet, brand_logo]
