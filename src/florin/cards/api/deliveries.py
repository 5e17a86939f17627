"""API: the routes that make links to the pages of cards, and send deliveries again."""

from uuid import UUID

from litestar import Response, get, post

from florin.cards.api.responses import request_context
from florin.cards.card import parse_card_id
from florin.cards.codes import read_code
from florin.cards.delivering import (
    CardLink,
    CardNotDeliverable,
    CodeNotAvailable,
    RotateRequest,
    require_deliverable,
)
from florin.cards.issuing import CardIssuer
from florin.deliveries.changes import DeliveryStateConflict, require_ended
from florin.deliveries.channels.pdf import Paper, PdfNotInstalled, render_voucher
from florin.deliveries.delivery import Delivery, find_delivery
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.errors import NotFound
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.ledger import refusals as no


@post(
    "/cards/{card:str}/link",
    status_code=200,
    summary="Make a link to the page of a card",
    responses=refusal_responses(no.CardNotFound, CardNotDeliverable, CodeNotAvailable),
)
async def make_link(
    request: AnyRequest,
    caller: Caller,
    cards: CardIssuer,
    db: Database,
    card: str,
    data: RotateRequest | None = None,
) -> CardLink:
    """Anyone who has the address sees the balance and the code of the card. Older addresses no
    longer work. A day after the code was made this needs `rotate_code`.
    """
    caller.needs("deliveries:write")
    uuid = parse_card_id(card)
    rotated = await _rotated(caller, cards, db, uuid, data)
    made = await cards.deliveries.new_link(db, audit_actor(request, caller), uuid, rotated)
    await send_position(request, db)
    return made


@post(
    "/deliveries/{delivery:str}/resend",
    status_code=200,
    summary="Send a delivery again",
    responses=refusal_responses(
        NotFound, DeliveryStateConflict, CardNotDeliverable, CodeNotAvailable
    ),
)
async def resend_delivery(
    request: AnyRequest,
    caller: Caller,
    cards: CardIssuer,
    db: Database,
    delivery: str,
    data: RotateRequest | None = None,
) -> Delivery:
    """To its address as it is now, with its own link if that is still valid. `rotate_code` replaces
    the code of the card and all its links first.
    """
    caller.needs("deliveries:write")
    was = await find_delivery(db, caller.merchant, delivery)
    # Before the code is replaced; `resend` checks it again, under a lock.
    known = {"state": was.state, "card": was.card, "channel": was.channel, "kind": was.kind}
    require_ended({**known, "address": was.address})
    card = None if was.card is None else parse_card_id(was.card)
    rotated = None if card is None else await _rotated(caller, cards, db, card, data)
    again = await cards.deliveries.resend(db, audit_actor(request, caller), delivery, rotated)
    await send_position(request, db)
    return again


@get(
    "/cards/{card:str}/voucher.pdf",
    summary="Get a card as a voucher to print",
    media_type="application/pdf",
    responses=refusal_responses(
        no.CardNotFound, CardNotDeliverable, CodeNotAvailable, PdfNotInstalled
    ),
)
async def card_voucher(
    caller: Caller,
    cards: CardIssuer,
    db: Database,
    settings: Settings,
    card: str,
    paper: Paper = "a4",
) -> Response[bytes]:
    """One page with the code, its QR code and its barcode, for a day after the code was made."""
    caller.needs("cards:write")
    voucher = await cards.deliveries.voucher(
        db,
        caller.merchant,
        parse_card_id(card),
        settings.key_ring("code_pepper"),
    )
    return Response(
        await render_voucher(voucher, paper),
        media_type="application/pdf",
        headers={"content-disposition": 'attachment; filename="voucher.pdf"'},
    )


async def _rotated(
    caller: Caller, cards: CardIssuer, db: Database, card: UUID, data: RotateRequest | None
) -> str | None:
    """Replace the code of the card if that was asked for; return the new one."""
    if data is None or not data.rotate_code:
        return None
    caller.needs("cards:write")
    context = request_context(caller, None, required=False)
    await require_deliverable(db, context, card)
    rotated, _ = await cards.rotate(context, card)
    assert rotated.code is not None, "without a key the new code is in the answer"
    return read_code(rotated.code)


handlers = [make_link, resend_delivery, card_voucher]
