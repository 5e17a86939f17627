"""Event: what happened, as it was then. Recorded in the transaction of its cause."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.cards import card as cards
from florin.cards.jobs.job import job_from_row as from_job
from florin.cards.transactions.models import hold_from_row, transaction_from_row
from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.list_filters import Bounds, Conditions, find_cursor
from florin.kit.postgres.database import Reader, Row

# The events whose object is a row of the ledger; the others' is the card, or a hold.
MOVED = frozenset(
    {"card.redeemed", "card.refunded", "card.loaded", "card.transferred", "card.adjusted"}
)


class Event(msgspec.Struct, kw_only=True):
    """Something that happened. `sequence` counts the events of a card without a gap. `actor` caused
    it: a member, a key, or `florin` itself; null in events older than this field.
    """

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: datetime
    sequence: int
    actor: str | None
    data: dict[str, Any]


class EventFilter(msgspec.Struct, kw_only=True, frozen=True):
    """What an event must be; None is anything."""

    kind: str | None = None
    card: UUID | None = None
    created: Bounds = ()


_AFTER = """
select created_at, id, card, sequence from florin.event where merchant = $1 and id = $2
"""
# The types a merchant has events of, one look into the index each: a list of all of them merges one
# ordered list a type, and needs no index of its own.
_TYPES = """
with recursive types as (
  (select e.type from florin.event e where e.merchant = $1 order by e.type limit 1)
  union all
  select (select e.type from florin.event e where e.merchant = $1 and e.type > k.type
    order by e.type limit 1) from types k where k.type is not null
)
"""


async def list_events(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    only: EventFilter,
) -> list[Event]:
    """The latest first. Raises InvalidRequest for a cursor that is no event."""
    last = await find_cursor(reads, _AFTER, merchant, after)
    where = Conditions([merchant])
    where.add_bounds("e.created_at", only.created)
    select = "select e.* from florin.event e where e.merchant = $1"
    if only.card is not None:  # its own numbers are the order
        if last is not None and last["card"] != only.card:
            raise InvalidRequest("no object of this list has this id", param="starting_after")
        where.add_equal("e.type", only.kind)
        where.add_equal("e.card", only.card)
        if last is not None:
            where.add("e.sequence < {}", last["sequence"])
        sql = f"{select}{where} order by e.sequence desc limit {where.bind(limit)}"
    else:
        if last is not None:
            where.add("(e.created_at, e.id) < ({}, {})", last["created_at"], last["id"])
        order = f"order by e.created_at desc, e.id desc limit {where.bind(limit)}"
        if only.kind is not None:
            where.add_equal("e.type", only.kind)
            sql = f"{select}{where} {order}"
        else:
            each = f"{select} and e.type = k.type{where} {order}"
            sql = f"{_TYPES} select e.* from types k cross join lateral ({each}) e {order}"  # noqa: S608 -- our own text
    rows = await reads.all(sql, *where.arguments)
    return await _rendered(reads, merchant, rows)


_COMING = f"""{_TYPES}
select e.* from types k cross join lateral (
  select e.* from florin.event e where e.merchant = $1 and e.type = k.type
    and (e.created_at, e.id) > ($2, $3) and e.created_at < $4
    order by e.created_at, e.id limit $5
) e order by e.created_at, e.id limit $5
"""  # noqa: S608 -- our own text

Place = tuple[datetime, UUID]  # of an event in the order of a merchant's


async def find_event_position(reads: Reader, merchant: UUID, text: str) -> Place | None:
    """Where an event stands; None when there is none of this id."""
    uuid = ids.parse_id("evt", text)
    row = await reads.one(_AFTER, merchant, uuid) if uuid is not None else None
    return (row["created_at"], row["id"]) if row is not None else None


async def events_after(
    reads: Reader, merchant: UUID, after: Place, before: datetime, *, most: int
) -> tuple[list[Event], Place]:
    """The first events behind a place and before an instant, the earliest first, and the place of
    the last of them.
    """
    rows = await reads.all(_COMING, merchant, *after, before, most)
    if not rows:
        return [], after
    last = (rows[-1]["created_at"], rows[-1]["id"])
    return await _rendered(reads, merchant, rows), last


async def find_event(reads: Reader, merchant: UUID, text: str) -> Event:
    """Raises NotFound."""
    uuid = ids.parse_id("evt", text)
    row = await reads.one(
        "select * from florin.event where merchant = $1 and id = $2", merchant, uuid
    )
    if row is None:
        raise NotFound
    return (await _rendered(reads, merchant, [row]))[0]


async def _rendered(reads: Reader, merchant: UUID, rows: Sequence[Row]) -> list[Event]:
    """Give each event its object, with what it was then laid over it."""
    moved = [row["resource_id"] for row in rows if row["type"] in MOVED]
    held = [row["resource_id"] for row in rows if row["type"].startswith("hold.")]
    jobs = [row["resource_id"] for row in rows if row["type"].startswith("job.")]
    other = [row["card"] for row in rows if _object(row) not in {*moved, *held, *jobs}]
    nouns: dict[UUID, Any] = {}
    for row in await _these(reads, "select * from florin.transfer", merchant, moved):
        nouns[row["id"]] = transaction_from_row(row)
    for row in await _these(reads, "select * from florin.hold", merchant, held):
        nouns[row["id"]] = hold_from_row(row)
    select = (
        f"select * from (select {cards.COLUMNS}, a.merchant from florin.account a {cards.JOINS}) c"  # noqa: S608 -- our own text
    )
    for row in await _these(reads, select, merchant, other):
        nouns[row["id"]] = cards.card_from_row(row)
    for row in await _these(reads, "select * from florin.job", merchant, jobs):
        nouns[row["id"]] = from_job(row)
    return [_event(row, nouns[_object(row)]) for row in rows]


def _object(row: Row) -> UUID:
    """What an event is about: the movement or the hold it names, else its card: of a change of
    state the noun is the change itself, which moved money only where the card was activated, or
    expired, or was reinstated.
    """
    itself = row["type"] in MOVED or row["type"].startswith(("hold.", "job."))
    about: UUID = row["resource_id"] if itself else row["card"]
    return about


async def _these(reads: Reader, select: str, merchant: UUID, wanted: list[UUID]) -> Sequence[Row]:
    if not wanted:
        return []
    return await reads.all(
        f"{select} where merchant = $1 and id = any($2)",
        merchant,
        wanted,
    )


def _event(row: Mapping[str, Any], noun: Any) -> Event:
    was: dict[str, Any] = msgspec.to_builtins(noun)
    if row["data"] is not None:
        then: dict[str, Any] = msgspec.json.decode(row["data"])
        was |= {field: value for field, value in then.items() if field in was}
        if was["object"] == "card":
            was["program"] = ids.show_id("prg", program_reference(was["program"]))
            was["available"] = was["balance"] - was["held"]
        elif was["object"] == "hold" and was["state"] != "captured":
            was["redemption"] = None
    return Event(
        id=ids.show_id("evt", row["id"]),
        type=row["type"],
        created_at=row["created_at"],
        sequence=row["sequence"],
        actor=row["actor"],
        data={"object": was},
    )


def program_reference(text: str) -> UUID:
    """A program as an event keeps it, bare, or as a card shows it."""
    return ids.parse_id("prg", text) or UUID(text)
