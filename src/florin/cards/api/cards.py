"""Cards: the routes of cards."""

from typing import Annotated

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from florin.cards import card as cards_
from florin.cards import codes, listing
from florin.cards import requests as want
from florin.cards.api import history as noun_api
from florin.cards.api import imports, jobs, secrets, transactions
from florin.cards.api.end_client import ClientIp, end_client
from florin.cards.api.responses import AnyRequest, request_context, respond
from florin.cards.card import Card, parse_card_id
from florin.cards.codes import CodeMalformed
from florin.cards.issuing import CardIssuer
from florin.cards.listing import CardFilter
from florin.cards.lookup import CardLookup
from florin.cards.state_changes import change_state
from florin.cards.transactions import history, queries
from florin.cards.transactions.history import TransactionFilter
from florin.cards.transactions.models import Entry, EntryKind
from florin.identity.authentication import Caller
from florin.kit.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Refusal,
)
from florin.kit.http.body import Page
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.idempotency_key import Key
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.litestar_adapter import MetadataFilterOperation, metadata_filter
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.replicas.routing import RoutedReader
from florin.ledger import refusals as no
from florin.ledger.post import Ledger


@post(
    "/cards",
    summary="Issue a card",
    responses=refusal_responses(
        no.AmountNotAllowed,
        no.ProgramNotFound,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
        QuotaExceeded,
    ),
)
async def issue_card(
    request: AnyRequest, caller: Caller, cards: CardIssuer, data: want.CardRequest, key: Key = ""
) -> Response[Card]:
    """Make a card of a program. Its code, and its PIN if it has one, are shown in this answer only,
    and in a replay within 24 hours; `activate: false` leaves it pending, with nothing owed on it.
    """
    caller.needs("cards:write")
    card, issued = await cards.issue(request_context(caller, key), data)
    return respond(request, card, status=201, position=issued.position, replayed=issued.replayed)


@get(
    "/cards",
    summary="List cards",
    operation_class=MetadataFilterOperation,
    responses=refusal_responses(),
)
async def list_cards(
    request: AnyRequest,
    caller: Caller,
    reads: RoutedReader,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
    program: str | None = None,
    card_state: Annotated[cards_.State | None, Parameter(query="state")] = None,
    last4: Annotated[
        str | None, Parameter(max_length=16, description="The last four symbols of the code.")
    ] = None,
    recipient: Annotated[
        str | None,
        Parameter(max_length=255, description="An e-mail address or a name, in any case."),
    ] = None,
) -> Page[Card]:
    """The latest first. Each parameter narrows the list further."""
    caller.needs("cards:read")
    only = CardFilter(
        program=Pagination.only("prg", program),
        state=card_state,
        last4=codes.read_last4(last4) if last4 else None,
        recipient=recipient,
        created=created.bounds(),
        metadata=metadata_filter(request),
    )
    after = Pagination.after("crd", starting_after)
    found = await listing.list_cards(
        reads, caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(found, limit)


@get("/cards/{card:str}", summary="Get a card", responses=refusal_responses(no.CardNotFound))
async def get_card(caller: Caller, db: Database, card: str) -> Card:
    caller.needs("cards:read")
    return await cards_.find_card(db, caller.merchant, parse_card_id(card))


@get(
    "/cards/{card:str}/entries",
    summary="Statement of a card",
    responses=refusal_responses(no.CardNotFound),
)
async def card_entries(
    caller: Caller,
    reads: RoutedReader,
    created: CreatedFilter,
    card: str,
    limit: Limit = 20,
    starting_after: After = None,
    kind: EntryKind | None = None,
) -> Page[Entry]:
    """Every entry of a card, the latest first, each with the balance after it."""
    caller.needs("cards:read")
    uuid = parse_card_id(card)
    reads.covering(card)
    await cards_.find_card(reads, caller.merchant, uuid)
    before = None
    if starting_after is not None:
        try:
            last = await queries.find_entry(reads, caller.merchant, starting_after)
        except NotFound:
            raise InvalidRequest(
                "no entry of this card has this id", param="starting_after"
            ) from None
        if last.card != card:
            raise InvalidRequest("no entry of this card has this id", param="starting_after")
        before = last.sequence
    only = TransactionFilter(card=uuid, created=created.bounds())
    found = await history.list_card_entries(
        reads, caller.merchant, limit=limit + 1, before=before, only=only, kind=kind
    )
    return Pagination.of(found, limit)


@post(
    "/cards/lookup",
    status_code=200,
    summary="Look a card up by its code",
    responses=refusal_responses(no.CardNotFound, CodeMalformed),
)
async def look_up(
    request: AnyRequest,
    caller: Caller,
    lookups: CardLookup,
    proxies: TrustedProxies,
    data: want.LookupRequest,
    client_ip: ClientIp = "",
) -> Card:
    """Find a card by what is printed on it; no PIN is asked. A read: it may be repeated at will.
    Codes that are wrong are counted, here as in redemptions and holds, and who tries too many is
    refused for a while with `rate_limited`, whatever he asks then.
    """
    caller.needs("cards:read")
    client = end_client(caller, client_ip, request.scope, proxies)
    asked = request_context(caller, None, required=False, client=client)
    return await lookups.look_up(asked, data.code)


_STATES: dict[str, tuple[str, str, tuple[type[Refusal], ...]]] = {
    "activate": (
        "Activate a card",
        "What is owed on it begins now.",
        (IdempotencyKeyRequired, no.CardExpired, no.CardBlocked, no.CardClosed),
    ),
    "block": (
        "Block a card",
        "Nothing can be spent from it until it is unblocked.",
        (no.CardExpired, no.CardNotActive, no.CardClosed),
    ),
    "unblock": (
        "Unblock a card",
        "It can be spent from again.",
        (no.CardExpired, no.CardNotActive, no.CardClosed),
    ),
    "close": (
        "Close a card",
        "For good; nothing may be left or held on it.",
        (no.CardNotEmpty,),
    ),
    "reinstate": (
        "Reinstate an expired card",
        "It lives again as long as its program says, with what it lost when it expired.",
        (no.CardBlocked, no.CardNotActive, no.CardClosed),
    ),
}


def _changing(operation: str) -> HTTPRouteHandler:
    """The route that brings a card to another state."""
    summary, meaning, refusals = _STATES[operation]

    @post(
        f"/cards/{{card:str}}/{operation}",
        status_code=200,
        summary=summary,
        description=f"{meaning} A card that is already so is answered as it is.",
        operation_id=f"{operation}_card",
        responses=refusal_responses(no.CardNotFound, *refusals, IdempotencyKeyReused),
    )
    async def changed(
        request: AnyRequest,
        caller: Caller,
        ledger: Ledger,
        db: Database,
        card: str,
        key: Key = "",
    ) -> Response[Card]:
        caller.needs("cards:write")
        asked = request_context(caller, key, required=operation == "activate")
        found, posted = await change_state(ledger, db, asked, operation, parse_card_id(card))
        return respond(
            request, found, status=200, position=posted.position, replayed=posted.replayed
        )

    return changed


handlers = [
    issue_card,
    list_cards,
    get_card,
    card_entries,
    look_up,
    *secrets.handlers,
    *(_changing(operation) for operation in _STATES),
    *jobs.handlers,
    *imports.handlers,
    *transactions.handlers,
    *noun_api.handlers,
]
