"""Card page: a card for the person who has its link, `/c/{token}`.

The token is the only credential. Nothing here is cached, no other page learns the address, and no
other site may show it in a frame. An address that is malformed, unknown or revoked has one answer.
"""

from typing import Any

from litestar import Response, get

from florin.cards import codes
from florin.cards.page_facts import CardPageFacts, open_card_page, voucher_of
from florin.cards.transactions.history import TransactionFilter, list_card_entries
from florin.deliveries.card_links import CardLinks
from florin.deliveries.channels.pdf import Paper, qr_svg, render_voucher, usual_paper
from florin.deliveries.look import read_look
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.web.customer.shop import ShopFront, shop_of
from florin.web.customer.top_up_offer import find_offer
from florin.web.drawing.codes import draw_barcode, draw_qr
from florin.web.pages import PAGE, PageResponse, PageView

ENTRIES = 12  # of the statement on one page
_SEQUENCE_MAX = 2**63 - 1
HIDDEN = {"x-robots-tag": "noindex, nofollow", "referrer-policy": "no-referrer"}
_FILE = {
    **HIDDEN,
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
}


@get("/c/{token:str}", **PAGE)
async def card_page(
    view: PageView,
    db: Database,
    card_links: CardLinks,
    settings: Settings,
    token: str,
    before: int = 0,
) -> PageResponse:
    """`before`: the sequence number of an entry; the statement shows what happened before it."""
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None:
        return refuse_card(view)
    paged = 0 < before <= _SEQUENCE_MAX
    entries = await list_card_entries(
        db,
        card.merchant_id,
        limit=ENTRIES + 1,
        before=before if paged else None,
        only=TransactionFilter(card=card.card),
    )
    shop = await shop_of(db, card.merchant_id)
    return _show(
        view,
        shop,
        "customer/card.html",
        card,
        token=token,
        usable=is_usable(card),
        can_top_up=await find_offer(db, shop, card) is not None,
        code=None if card.code is None else codes.show_code(card.code),
        entries=entries[:ENTRIES],
        older=entries[ENTRIES - 1].sequence if len(entries) > ENTRIES else None,
        paged=paged,
    )


@get("/c/{token:str}/till", **PAGE)
async def card_at_till(
    view: PageView, db: Database, card_links: CardLinks, settings: Settings, token: str
) -> PageResponse:
    """The code as large as the screen allows, for the scanner of a till."""
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None:
        return refuse_card(view)
    if card.code is None or not is_usable(card):
        return view.go(f"/c/{token}", lang=view.asked_language)
    code = codes.show_code(card.code)
    return _show(
        view,
        await shop_of(db, card.merchant_id),
        "customer/card-till.html",
        card,
        token=token,
        code=code,
        qr=draw_qr(code, view.word("QR code of the card")),
        barcode=draw_barcode(card.code, view.word("Barcode of the card")),
    )


@get("/c/{token:str}/qr.svg", **PAGE)
async def card_qr(
    view: PageView, db: Database, card_links: CardLinks, settings: Settings, token: str
) -> Response[Any]:
    """The code of the card as a QR code."""
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None or card.code is None or not is_usable(card):
        return refuse_card(view)
    return Response(qr_svg(codes.show_code(card.code)), media_type="image/svg+xml", headers=_FILE)


@get("/c/{token:str}/card.pdf", **PAGE)
async def card_pdf(
    view: PageView,
    db: Database,
    card_links: CardLinks,
    settings: Settings,
    token: str,
    paper: Paper | None = None,
) -> Response[Any]:
    """The card as a voucher to print, on the usual paper of the merchant's country."""
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None or not is_usable(card):
        return refuse_card(view)
    voucher = voucher_of(card, await read_look(db, card.merchant_id), view.asked_language)
    if voucher is None:
        return refuse_card(view)
    made = await render_voucher(voucher, paper or usual_paper(card.country))
    headers = {**_FILE, "content-disposition": 'inline; filename="card.pdf"'}
    return Response(made, media_type="application/pdf", headers=headers)


def is_usable(card: CardPageFacts) -> bool:
    """Whether something can be spent from the card, now or when its holds end."""
    return card.state == "active" and card.balance > 0


def _show(
    view: PageView, shop: ShopFront, template: str, card: CardPageFacts, **context: Any
) -> PageResponse:
    view.in_zone(card.timezone)
    shown = view.show(template, shop=shop, card=card, **context)
    shown.headers.update(HIDDEN)
    return shown


def refuse_card(view: PageView) -> PageResponse:
    """One answer for every reason."""
    refused = view.show("customer/card-none.html", status=404)
    refused.headers.update(HIDDEN)
    return refused


handlers = [card_page, card_at_till, card_qr, card_pdf]
