"""API: the routes that correct a card and extend its time."""

from litestar import Response, patch, post
from litestar.handlers import HTTPRouteHandler

from florin.cards import card_changes
from florin.cards.api.responses import request_context, respond, respond_posted
from florin.cards.card import Card, parse_card_id
from florin.cards.requests import CardChange, ExtendRequest
from florin.identity.authentication import Caller
from florin.kit.errors import IdempotencyKeyReused
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.ledger import refusals as no
from florin.ledger.post import Ledger


@patch(
    "/cards/{card:str}",
    summary="Change a card",
    responses=refusal_responses(no.CardNotFound, no.CardClosed, IdempotencyKeyReused),
)
async def change_card(
    request: AnyRequest, caller: Caller, db: Database, card: str, data: CardChange, key: Key = ""
) -> Response[Card]:
    """Correct the recipient or the metadata; each is replaced as a whole. The event
    `card.changed` and the audit log name the fields, not what is in them.
    """
    caller.needs("cards:write")
    context = request_context(caller, key, required=False)
    changed, replayed = await card_changes.change_card(db, context, parse_card_id(card), data)
    return respond(request, changed, status=200, position=await db.position(), replayed=replayed)


@post(
    "/cards/{card:str}/extend",
    status_code=200,
    summary="Extend a card",
    responses=refusal_responses(
        no.CardNotFound, no.CardExpired, no.CardClosed, no.ExpiryNotAllowed, IdempotencyKeyReused
    ),
)
async def extend_card(
    request: AnyRequest,
    caller: Caller,
    ledger: Ledger,
    db: Database,
    card: str,
    data: ExtendRequest,
    key: Key = "",
) -> Response[Card]:
    """Give a card a later expiry date; the audit log keeps the reason. A pending card gets the
    date with which it is activated. A card that has expired is reinstated first; one that never
    expires cannot be extended.
    """
    caller.needs("cards:write")
    context = request_context(caller, key, required=False)
    extended, posted = await card_changes.extend_card(
        ledger, db, context, parse_card_id(card), data
    )
    return respond_posted(request, extended, posted, status=200)


handlers: list[HTTPRouteHandler] = [change_card, extend_card]
