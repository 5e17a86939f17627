"""Noun API: lists of the ledger's nouns, and each of them by its id."""

from typing import Annotated, Any, Literal

from litestar import get
from litestar.params import Parameter

from florin.cards import lists
from florin.cards.nouns import Adjustment, Entry, Hold, Load, Redemption, Refund, Transfer
from florin.kit.db import Database
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http import Page
from florin.kit.openapi import responses
from florin.kit.paging import After, Limit, page
from florin.kit.reads import Reads
from florin.merchants.access import Caller


def _moved(plural: str, kind: str, prefix: str, noun: Any, scope: str) -> list[Any]:
    """The two routes of a noun that is a row of transfers."""
    name = plural[:-1]

    @get(
        f"/{plural}", summary=f"List {plural}", operation_id=f"list_{plural}", responses=responses()
    )
    async def listed(  # pyright: ignore[reportUnknownParameterType] -- the noun is a variable
        caller: Caller,
        reads: Reads,
        limit: Limit = 20,
        starting_after: After = None,
        card: str | None = None,
    ) -> Page[noun]:  # pyright: ignore[reportInvalidTypeForm]
        caller.needs(scope)
        found = await lists.moved(
            reads.about(card),
            caller.merchant,
            kind,
            limit=limit + 1,
            after=page.after(prefix, starting_after),
            card=page.only("crd", card),
        )
        return page.of(found, limit)

    @get(
        f"/{plural}/{{noun_id:str}}",
        summary=f"Get one of the {plural}",
        operation_id=f"get_{name}",
        responses=responses(NotFound),
    )
    async def one(  # pyright: ignore[reportUnknownParameterType]
        caller: Caller, reads: Reads, noun_id: str
    ) -> noun:  # pyright: ignore[reportInvalidTypeForm]
        caller.needs(scope)
        return await lists.one_moved(reads, caller.merchant, kind, noun_id)

    return [listed, one]


@get("/holds", summary="List holds", responses=responses())
async def list_holds(
    caller: Caller,
    reads: Reads,
    limit: Limit = 20,
    starting_after: After = None,
    card: str | None = None,
    hold_state: Annotated[
        Literal["open", "captured", "voided", "expired"] | None, Parameter(query="state")
    ] = None,
) -> Page[Hold]:
    caller.needs("redemptions:read")
    found = await lists.holds(
        reads.about(card),
        caller.merchant,
        limit=limit + 1,
        after=page.after("hld", starting_after),
        card=page.only("crd", card),
        state=hold_state,
    )
    return page.of(found, limit)


@get("/holds/{hold:str}", summary="Get a hold", responses=responses(NotFound))
async def get_hold(caller: Caller, db: Database, hold: str) -> Hold:
    caller.needs("redemptions:read")
    return await lists.one_hold(db, caller.merchant, hold)


@get("/entries", summary="List entries", responses=responses())
async def list_entries(
    caller: Caller, reads: Reads, limit: Limit = 20, starting_after: After = None
) -> Page[Entry]:
    """The entries of all cards; a transfer between cards has one on each."""
    caller.needs("cards:read")
    after = None
    if starting_after is not None:
        after = lists.entry_id(starting_after)
        if after is None:
            raise InvalidRequest("no entry has this id", param="starting_after")
    found = await lists.entries(reads, caller.merchant, limit=limit + 1, after=after)
    return page.of(found, limit)


@get("/entries/{entry:str}", summary="Get an entry", responses=responses(NotFound))
async def get_entry(caller: Caller, reads: Reads, entry: str) -> Entry:
    caller.needs("cards:read")
    return await lists.one_entry(reads, caller.merchant, entry)


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
