"""Cards: the routes that issue, list and read cards and change their state."""

from typing import Annotated

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from florin.cards import card as cards_
from florin.cards import codes, listing, requests
from florin.cards.api import cash_outs, changes, imports, jobs, people, secrets, transactions
from florin.cards.api import history as history_api
from florin.cards.api.end_client import ClientIp
from florin.cards.api.frequent_operations import FrequentOperations
from florin.cards.api.responses import request_context, respond_posted
from florin.cards.card import Card, parse_card_id
from florin.cards.codes import CodeMalformed
from florin.cards.issuing import CardIssuer
from florin.cards.listing import CardFilter
from florin.cards.references import ReferenceTaken
from florin.cards.state_changes import change_state
from florin.cards.transactions import history, queries
from florin.cards.transactions.history import TransactionFilter
from florin.cards.transactions.models import Entry, EntryKind
from florin.identity.authentication import Caller
from florin.kit import plain_text
from florin.kit.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Refusal,
)
from florin.kit.http.asgi import asgi_scope
from florin.kit.http.body import Page
from florin.kit.http.idempotency_key import Key
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.litestar_adapter import (
    AnyRequest,
    MetadataFilterOperation,
    metadata_filter,
)
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
        no.ExpiryNotAllowed,
        no.ProgramNotFound,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
        QuotaExceeded,
        ReferenceTaken,
    ),
)
async def issue_card(
    request: AnyRequest,
    caller: Caller,
    cards: CardIssuer,
    data: requests.CardRequest,
    key: Key = "",
) -> Response[Card]:
    """Issue a card of a program. The code, and the PIN if the card has one, are in this response
    only, and in a replay with the same key within 24 hours. With `activate: false` the card stays
    pending and carries no liability.
    """
    caller.needs("cards:write")
    card, issued = await cards.issue(request_context(caller, key), data)
    return respond_posted(request, card, issued)


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
    job: Annotated[str | None, Parameter(description="The job that issued the cards.")] = None,
    card_state: Annotated[cards_.State | None, Parameter(query="state")] = None,
    last4: Annotated[
        str | None, Parameter(max_length=16, description="The last four characters of the code.")
    ] = None,
    recipient: Annotated[
        str | None,
        Parameter(
            max_length=255, description="The recipient's e-mail address or name, case-insensitive."
        ),
    ] = None,
    reference: Annotated[
        str | None, Parameter(max_length=255, description="The card with this reference.")
    ] = None,
) -> Page[Card]:
    """Newest first. Each parameter filters the list further."""
    caller.needs("cards:read")
    only = CardFilter(
        program=Pagination.only("prg", program),
        job=Pagination.only("job", job),
        state=card_state,
        last4=codes.read_last4(last4) if last4 else None,
        recipient=recipient,
        created=created.bounds(),
        metadata=metadata_filter(request),
        reference=plain_text.clean_filter(reference),
    )
    after = Pagination.after("crd", starting_after)
    cards = await listing.list_cards(
        reads, caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(cards, limit)


@get("/cards/{card:str}", summary="Get a card", responses=refusal_responses(no.CardNotFound))
async def get_card(caller: Caller, db: Database, card: str) -> Card:
    caller.needs("cards:read")
    return await cards_.find_card(db, caller.merchant, parse_card_id(card))


@get(
    "/cards/{card:str}/entries",
    summary="List the entries of a card",
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
    """The statement of a card: its entries, newest first, each with the balance after it."""
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
                "starting_after is not the id of an entry of this card", param="starting_after"
            ) from None
        if last.card != card:
            raise InvalidRequest(
                "starting_after is not the id of an entry of this card", param="starting_after"
            )
        before = last.sequence
    only = TransactionFilter(card=uuid, created=created.bounds())
    entries = await history.list_card_entries(
        reads, caller.merchant, limit=limit + 1, before=before, only=only, kind=kind
    )
    return Pagination.of(entries, limit)


@post(
    "/cards/lookup",
    status_code=200,
    summary="Look a card up by its code",
    responses=refusal_responses(no.CardNotFound, CodeMalformed),
)
async def look_up(
    request: AnyRequest,
    caller: Caller,
    operations: FrequentOperations,
    data: requests.LookupRequest,
    client_ip: ClientIp = "",
) -> Card:
    """Find a card by its printed code; no PIN is needed. This is a read and may be repeated.
    Wrong codes are counted, together with those of redemptions and holds. A client that tries too
    many is refused with `rate_limited` for a while, even with a correct code.
    """
    caller.needs("cards:read")
    return await operations.look_up(asgi_scope(request), caller, data, client_ip)


_STATES: dict[str, tuple[str, str, tuple[type[Refusal], ...]]] = {
    "activate": (
        "Activate a card",
        "The card becomes spendable and its liability begins.",
        (IdempotencyKeyRequired, no.CardExpired, no.CardBlocked, no.CardClosed),
    ),
    "block": (
        "Block a card",
        "Nothing can be spent from the card until it is unblocked.",
        (no.CardExpired, no.CardNotActive, no.CardClosed),
    ),
    "unblock": (
        "Unblock a card",
        "The card can be spent from again.",
        (no.CardExpired, no.CardNotActive, no.CardClosed),
    ),
    "close": (
        "Close a card",
        "Permanent. The card must have no balance and no open hold.",
        (no.CardNotEmpty,),
    ),
    "reinstate": (
        "Reinstate an expired card",
        "The card gets a new expiry date, and the balance that it lost when it expired.",
        (no.CardBlocked, no.CardNotActive, no.CardClosed),
    ),
}


def _state_route(operation: str) -> HTTPRouteHandler:
    """Make the route that changes the state of a card with `operation`."""
    summary, meaning, refusals = _STATES[operation]

    @post(
        f"/cards/{{card:str}}/{operation}",
        status_code=200,
        summary=summary,
        description=f"{meaning} A card that is already in this state is returned unchanged.",
        operation_id=f"{operation}_card",
        responses=refusal_responses(no.CardNotFound, *refusals, IdempotencyKeyReused),
    )
    async def change_card_state(
        request: AnyRequest,
        caller: Caller,
        ledger: Ledger,
        db: Database,
        card: str,
        key: Key = "",
    ) -> Response[Card]:
        caller.needs("cards:write")
        context = request_context(caller, key, required=operation == "activate")
        changed, posted = await change_state(ledger, db, context, operation, parse_card_id(card))
        return respond_posted(request, changed, posted, status=200)

    return change_card_state


handlers = [
    issue_card,
    list_cards,
    get_card,
    card_entries,
    look_up,
    *secrets.handlers,
    *changes.handlers,
    *people.handlers,
    *(_state_route(operation) for operation in _STATES),
    *jobs.handlers,
    *imports.handlers,
    *transactions.handlers,
    *cash_outs.handlers,
    *history_api.handlers,
]
