"""Holds: a merchant's holds, newest first."""

from uuid import UUID

import msgspec

from florin.cards.transactions.models import Hold, HoldState, hold_from_row
from florin.cards.transactions.queries import HOLD
from florin.kit import plain_text
from florin.kit.http.list_filters import Bounds, Conditions, find_cursor, merge_branches
from florin.kit.postgres.database import Reader

_AFTER = "select created_at, id from florin.hold where merchant = $1 and id = $2"
_NOW = "statement_timestamp() + m.clock_offset"
# A hold past its expiry reserves nothing, before the job that records it has run.
_STATES: dict[HoldState, list[str]] = {
    "open": [f"h.state = 'open' and h.expires_at > {_NOW}"],
    "captured": ["h.state = 'captured'"],
    "voided": ["h.state = 'voided'"],
    "expired": ["h.state = 'expired'", f"h.state = 'open' and h.expires_at <= {_NOW}"],
}


class HoldFilter(msgspec.Struct, kw_only=True, frozen=True):
    """The filters of a list of holds; None matches any hold."""

    card: UUID | None = None
    state: HoldState | None = None
    reference: str | None = None
    location: str | None = None
    created: Bounds = ()


async def list_holds(
    reads: Reader, merchant: UUID, *, limit: int, after: UUID | None, only: HoldFilter
) -> list[Hold]:
    """List holds. Raises InvalidRequest when `after` is not the id of a hold."""
    last = await find_cursor(reads, _AFTER, merchant, after)
    where = Conditions([merchant])
    where.add_equal("h.card", only.card)
    where.add_equal("h.reference", plain_text.clean_filter(only.reference))
    where.add_equal("h.location", plain_text.clean_filter(only.location))
    where.add_bounds("h.created_at", only.created)
    if last is not None:
        where.add("(h.created_at, h.id) < ({}, {})", last["created_at"], last["id"])
    states = [""]
    if only.state is not None:
        states = _STATES[only.state]
    page = where.bind(limit)
    select = (
        f"select {HOLD} from florin.hold h join florin.merchant m on m.id = h.merchant"  # noqa: S608 -- our own text
        f" where h.merchant = $1{where}"
    )
    branches = [select + (f" and {state}" if state else "") for state in states]
    rows = await reads.all(
        merge_branches(branches, "created_at desc, id desc", page), *where.arguments
    )
    return [hold_from_row(row) for row in rows]
