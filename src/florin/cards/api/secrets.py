"""API: the routes that replace the code or the PIN of a card."""

from litestar import Response, post

from florin.cards.api.responses import request_context, respond
from florin.cards.card import Card, parse_card_id
from florin.cards.issuing import CardIssuer
from florin.identity.authentication import Caller
from florin.kit.errors import IdempotencyKeyReused
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.ledger import refusals as no


@post(
    "/cards/{card:str}/rotate-code",
    status_code=200,
    summary="Replace the code of a card",
    responses=refusal_responses(no.CardNotFound, no.CardClosed, IdempotencyKeyReused),
)
async def rotate_code(
    request: AnyRequest, caller: Caller, cards: CardIssuer, db: Database, card: str, key: Key = ""
) -> Response[Card]:
    """The new code is in this response; the old code no longer works."""
    caller.needs("cards:write")
    rotated, outcome = await cards.rotate(
        request_context(caller, key, required=False), parse_card_id(card)
    )
    return respond(
        request, rotated, status=200, position=await db.position(), replayed=outcome == "replayed"
    )


@post(
    "/cards/{card:str}/reset-pin",
    status_code=200,
    summary="Replace the PIN of a card",
    responses=refusal_responses(no.CardNotFound, no.CardClosed, IdempotencyKeyReused),
)
async def reset_pin(
    request: AnyRequest, caller: Caller, cards: CardIssuer, db: Database, card: str, key: Key = ""
) -> Response[Card]:
    """The new PIN is in this response, and the count of wrong attempts starts at zero; the old PIN
    no longer works. A card without a PIN has one from then on.
    """
    caller.needs("cards:write")
    reset, outcome = await cards.reset_pin(
        request_context(caller, key, required=False), parse_card_id(card)
    )
    return respond(
        request, reset, status=200, position=await db.position(), replayed=outcome == "replayed"
    )


handlers = [rotate_code, reset_pin]
