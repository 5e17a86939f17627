"""History: lists of the ledger's nouns, and each of them by its id."""

from typing import Annotated, Any

from litestar import get
from litestar.params import Parameter

from florin.cards.transactions import history, holds, queries
from florin.cards.transactions.history import TransactionFilter
from florin.cards.transactions.holds import HoldFilter
from florin.cards.transactions.models import (
    Adjustment,
    Entry,
    EntryKind,
    Hold,
    HoldState,
    Load,
    Redemption,
    Refund,
    Transfer,
)
from florin.identity.authentication import Caller
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import Page
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.replicas.routing import RoutedReader

Given = Annotated[
    str | None, Parameter(max_length=255, description="As it was given, to the letter.")
]


def _moved(plural: str, kind: EntryKind, prefix: str, noun: Any, scope: str) -> list[Any]:
    """The two routes of a noun that is a row of transfers."""
    name = plural[:-1]

    @get(
        f"/{plural}",
        summary=f"List {plural}",
        operation_id=f"list_{plural}",
        responses=refusal_responses(),
    )
    async def listed(  # pyright: ignore[reportUnknownParameterType] -- the noun is a variable
        caller: Caller,
        reads: RoutedReader,
        created: CreatedFilter,
        limit: Limit = 20,
        starting_after: After = None,
        card: str | None = None,
        reference: Given = None,
        location: Given = None,
    ) -> Page[noun]:  # pyright: ignore[reportInvalidTypeForm]
        caller.needs(scope)
        only = TransactionFilter(
            card=Pagination.only("crd", card),
            reference=reference,
            location=location,
            created=created.bounds(),
        )
        after = Pagination.after(prefix, starting_after)
        found = await history.list_transactions(
            reads.covering(card), caller.merchant, kind, limit=limit + 1, after=after, only=only
        )
        return Pagination.of(found, limit)

    @get(
        f"/{plural}/{{noun_id:str}}",
        summary=f"Get one of the {plural}",
        operation_id=f"get_{name}",
        responses=refusal_responses(NotFound),
    )
    async def one(  # pyright: ignore[reportUnknownParameterType]
        caller: Caller, reads: RoutedReader, noun_id: str
    ) -> noun:  # pyright: ignore[reportInvalidTypeForm]
        caller.needs(scope)
        return await queries.find_transaction(reads, caller.merchant, kind, noun_id)

    return [listed, one]


@get("/holds", summary="List holds", responses=refusal_responses())
async def list_holds(
    caller: Caller,
    reads: RoutedReader,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
    card: str | None = None,
    reference: Given = None,
    location: Given = None,
    hold_state: Annotated[HoldState | None, Parameter(query="state")] = None,
) -> Page[Hold]:
    caller.needs("redemptions:read")
    only = HoldFilter(
        card=Pagination.only("crd", card),
        state=hold_state,
        reference=reference,
        location=location,
        created=created.bounds(),
    )
    after = Pagination.after("hld", starting_after)
    found = await holds.list_holds(
        reads.covering(card), caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(found, limit)


@get("/holds/{hold:str}", summary="Get a hold", responses=refusal_responses(NotFound))
async def get_hold(caller: Caller, db: Database, hold: str) -> Hold:
    caller.needs("redemptions:read")
    return await queries.find_hold(db, caller.merchant, hold)


@get("/entries", summary="List entries", responses=refusal_responses())
async def list_entries(
    caller: Caller,
    reads: RoutedReader,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
    kind: EntryKind | None = None,
    reference: Given = None,
    location: Given = None,
) -> Page[Entry]:
    """The entries of all cards; a transfer between cards has one on each."""
    caller.needs("cards:read")
    after = None
    if starting_after is not None:
        after = queries.parse_entry_id(starting_after)
        if after is None:
            raise InvalidRequest("no entry has this id", param="starting_after")
    only = TransactionFilter(reference=reference, location=location, created=created.bounds())
    found = await history.list_entries(
        reads, caller.merchant, limit=limit + 1, after=after, only=only, kind=kind
    )
    return Pagination.of(found, limit)


@get("/entries/{entry:str}", summary="Get an entry", responses=refusal_responses(NotFound))
async def get_entry(caller: Caller, reads: RoutedReader, entry: str) -> Entry:
    caller.needs("cards:read")
    return await queries.find_entry(reads, caller.merchant, entry)


handlers = [
    *_moved("redemptions", "redeem", "red", Redemption, "redemptions:read"),
    *_moved("refunds", "refund", "rfd", Refund, "redemptions:read"),
    *_moved("loads", "load", "lod", Load, "cards:read"),
    *_moved("transfers", "transfer", "trf", Transfer, "cards:read"),
    *_moved("adjustments", "adjust", "adj", Adjustment, "cards:read"),
    list_holds,
    get_hold,
    list_entries,
    get_entry,
]
