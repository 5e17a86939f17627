"""Card page: a card for the person who has its link, `/c/{token}`.

The token is the only credential. Nothing here is cached, no other page learns the address, and no
other site may show it in a frame.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from litestar import MediaType, Response, get
from markupsafe import Markup

from florin.cards import codes
from florin.cards.page_facts import CardPageFacts, open_card_page, voucher_of
from florin.deliveries.card_links import CardLinks
from florin.deliveries.channels.pdf import Paper, qr_svg, render_voucher
from florin.kit.amounts import format_amount, format_last_day
from florin.kit.code128 import code128_svg
from florin.kit.http.static_files import static_url
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-robots-tag": "noindex, nofollow",
}


@get("/c/{token:str}", include_in_schema=False)
async def card_page(
    db: Database, card_links: CardLinks, settings: Settings, token: str
) -> Response[str]:
    facts = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if facts is None:
        return _not_found()
    return _page("card.html", card=_CardView(facts), token=token)


@get("/c/{token:str}/qr.svg", include_in_schema=False)
async def card_qr(
    db: Database, card_links: CardLinks, settings: Settings, token: str
) -> Response[Any]:
    """The code of the card as a QR code."""
    facts = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if facts is None or facts.code is None:
        return _not_found()
    return Response(
        qr_svg(codes.show_code(facts.code)), media_type="image/svg+xml", headers=_HEADERS
    )


@get("/c/{token:str}/card.pdf", include_in_schema=False)
async def card_pdf(
    db: Database, card_links: CardLinks, settings: Settings, token: str, paper: Paper = "a4"
) -> Response[Any]:
    """The card as a voucher to print."""
    facts = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    voucher = None if facts is None else voucher_of(facts)
    if voucher is None:
        return _not_found()
    headers = {**_HEADERS, "content-disposition": 'inline; filename="card.pdf"'}
    return Response(
        await render_voucher(voucher, paper), media_type="application/pdf", headers=headers
    )


class _CardView:
    """A card in the words of its reader."""

    def __init__(self, facts: CardPageFacts) -> None:
        self.facts = facts
        self.balance = format_amount(facts.balance, facts.currency, facts.locale)
        held = facts.balance - facts.available
        self.held = format_amount(held, facts.currency, facts.locale) if held else None
        self.usable = facts.state == "active" and facts.balance > 0
        self.code = codes.show_code(facts.code) if facts.code else None
        self.barcode = Markup(code128_svg(facts.code)) if facts.code else None  # noqa: S704 -- our own
        self.last_day = (
            format_last_day(facts.expires_at, facts.timezone, facts.locale)
            if facts.expires_at
            else None
        )


def _not_found() -> Response[str]:
    return _page("card_unknown.html", status=404)


def _page(name: str, *, status: int = 200, **values: Any) -> Response[str]:
    text = _templates().get_template(name).render(style=static_url("florin.css"), **values)
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=_HEADERS)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("florin.web", "templates"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


handlers = [card_page, card_qr, card_pdf]
