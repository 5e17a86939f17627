"""History: the routes that list transactions, holds and entries, and get each by its id."""

from typing import Annotated, Any

from litestar import get
from litestar.params import Parameter

from florin.cards.transactions import history, holds, queries
from florin.cards.transactions.history import TransactionFilter
from florin.cards.transactions.holds import HoldFilter
from florin.cards.transactions.models import (
    Adjustment,
    CashOut,
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

ExactMatch = Annotated[str | None, Parameter(max_length=255, description="Exact match.")]


def _transaction_routes(
    plural: str, kind: EntryKind, prefix: str, model: Any, scope: str
) -> list[Any]:
    """Make the routes that list and get the transactions of one kind."""
    many = plural.replace("-", "_")
    name = many[:-1]

    @get(
        f"/{plural}",
        summary=f"List {plural}",
        operation_id=f"list_{many}",
        responses=refusal_responses(),
    )
    async def listed(  # pyright: ignore[reportUnknownParameterType] -- the model is a variable
        caller: Caller,
        reads: RoutedReader,
        created: CreatedFilter,
        limit: Limit = 20,
        starting_after: After = None,
        card: str | None = None,
        reference: ExactMatch = None,
        location: ExactMatch = None,
    ) -> Page[model]:  # pyright: ignore[reportInvalidTypeForm]
        caller.needs(scope)
        only = TransactionFilter(
            card=Pagination.only("crd", card),
            reference=reference,
            location=location,
            created=created.bounds(),
        )
        after = Pagination.after(prefix, starting_after)
        transactions = await history.list_transactions(
            reads.covering(card), caller.merchant, kind, limit=limit + 1, after=after, only=only
        )
        return Pagination.of(transactions, limit)

    @get(
        f"/{plural}/{{noun_id:str}}",
        summary=f"Get one of the {plural}",
        operation_id=f"get_{name}",
        responses=refusal_responses(NotFound),
    )
    async def one(  # pyright: ignore[reportUnknownParameterType]
        caller: Caller, reads: RoutedReader, noun_id: str
    ) -> model:  # pyright: ignore[reportInvalidTypeForm]
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
    reference: ExactMatch = None,
    location: ExactMatch = None,
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
    page = await holds.list_holds(
        reads.covering(card), caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(page, limit)


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
    reference: ExactMatch = None,
    location: ExactMatch = None,
) -> Page[Entry]:
    """The entries of all cards; a transfer between cards has one on each."""
    caller.needs("cards:read")
    after = None
    if starting_after is not None:
        after = queries.parse_entry_id(starting_after)
        if after is None:
            raise InvalidRequest("starting_after is not the id of an entry", param="starting_after")
    only = TransactionFilter(reference=reference, location=location, created=created.bounds())
    entries = await history.list_entries(
        reads, caller.merchant, limit=limit + 1, after=after, only=only, kind=kind
    )
    return Pagination.of(entries, limit)


@get("/entries/{entry:str}", summary="Get an entry", responses=refusal_responses(NotFound))
async def get_entry(caller: Caller, reads: RoutedReader, entry: str) -> Entry:
    caller.needs("cards:read")
    return await queries.find_entry(reads, caller.merchant, entry)


handlers = [
    *_transaction_routes("redemptions", "redeem", "red", Redemption, "redemptions:read"),
    *_transaction_routes("refunds", "refund", "rfd", Refund, "redemptions:read"),
    *_transaction_routes("loads", "load", "lod", Load, "cards:read"),
    *_transaction_routes("transfers", "transfer", "trf", Transfer, "cards:read"),
    *_transaction_routes("cash-outs", "cash_out", "cso", CashOut, "redemptions:read"),
    *_transaction_routes("adjustments", "adjust", "adj", Adjustment, "cards:read"),
    list_holds,
    get_hold,
    list_entries,
    get_entry,
]
