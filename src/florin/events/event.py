"""Event: a change to a card, hold or job, recorded in the transaction that made it."""

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

# The events whose object is a transaction; the object of the others is a hold, a job or the card.
TRANSACTION_EVENTS = frozenset(
    {"card.redeemed", "card.refunded", "card.loaded", "card.transferred", "card.adjusted"}
)


# The events of orders and payments record their whole object, as it was.
RECORDED_WHOLE = ("order.", "payment.", "payment_refund.", "dispute.", "gateway.")


class Event(msgspec.Struct, kw_only=True):
    """A change. `sequence` numbers the events of a card without gaps. `actor` caused it: a member,
    a key, or `florin` itself; null in events that are older than this field.
    """

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: datetime
    sequence: int
    actor: str | None
    data: dict[str, Any]


class EventFilter(msgspec.Struct, kw_only=True, frozen=True):
    """The filters of a list of events; None matches any event."""

    kind: str | None = None
    card: UUID | None = None
    created: Bounds = ()


_AFTER = """
select created_at, id, card, sequence from florin.event where merchant = $1 and id = $2
"""
# The types of a merchant's events, one index probe each. A list of all events merges one ordered
# list for each type, and needs no index of its own.
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
    """List events, newest first. Raises InvalidRequest when `after` is not the id of an event."""
    last = await find_cursor(reads, _AFTER, merchant, after)
    where = Conditions([merchant])
    where.add_bounds("e.created_at", only.created)
    select = "select e.* from florin.event e where e.merchant = $1"
    if only.card is not None:  # ordered by its own sequence
        if last is not None and last["card"] != only.card:
            raise InvalidRequest(
                "starting_after is not the id of an event of this card", param="starting_after"
            )
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


_EVENTS_AFTER = f"""{_TYPES}
select e.* from types k cross join lateral (
  select e.* from florin.event e where e.merchant = $1 and e.type = k.type
    and (e.created_at, e.id) > ($2, $3) and e.created_at < $4
    order by e.created_at, e.id limit $5
) e order by e.created_at, e.id limit $5
"""  # noqa: S608 -- our own text

Place = tuple[datetime, UUID]  # the position of an event in the order of its merchant's events


async def find_event_position(reads: Reader, merchant: UUID, text: str) -> Place | None:
    """The position of an event; None when no event has this id."""
    uuid = ids.parse_id("evt", text)
    row = await reads.one(_AFTER, merchant, uuid) if uuid is not None else None
    return (row["created_at"], row["id"]) if row is not None else None


async def events_after(
    reads: Reader, merchant: UUID, after: Place, before: datetime, *, most: int
) -> tuple[list[Event], Place]:
    """Read up to `most` events after a position and before an instant, oldest first; return them
    and the position of the last one.
    """
    rows = await reads.all(_EVENTS_AFTER, merchant, *after, before, most)
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


async def find_events(reads: Reader, merchant: UUID, events: Sequence[UUID]) -> list[Event]:
    """The events with these ids, in no order."""
    rows = await reads.all(
        "select * from florin.event where merchant = $1 and id = any($2)", merchant, events
    )
    return await _rendered(reads, merchant, rows)


async def _rendered(reads: Reader, merchant: UUID, rows: Sequence[Row]) -> list[Event]:
    """Make events of rows: each with its object, on which the recorded fields are laid."""
    moved = [row["resource_id"] for row in rows if row["type"] in TRANSACTION_EVENTS]
    held = [row["resource_id"] for row in rows if row["type"].startswith("hold.")]
    jobs = [row["resource_id"] for row in rows if row["type"].startswith("job.")]
    whole = [row["resource_id"] for row in rows if row["type"].startswith(RECORDED_WHOLE)]
    known = {*moved, *held, *jobs, *whole}
    other = [row["card"] for row in rows if _object_id(row) not in known]
    objects: dict[UUID, Any] = {}
    for row in await _read_by_ids(reads, "select * from florin.transfer", merchant, moved):
        objects[row["id"]] = transaction_from_row(row)
    for row in await _read_by_ids(reads, "select * from florin.hold", merchant, held):
        objects[row["id"]] = hold_from_row(row)
    select = (
        f"select * from (select {cards.COLUMNS}, a.merchant from florin.account a {cards.JOINS}) c"  # noqa: S608 -- our own text
    )
    for row in await _read_by_ids(reads, select, merchant, other):
        objects[row["id"]] = cards.card_from_row(row)
    for row in await _read_by_ids(reads, "select * from florin.job", merchant, jobs):
        objects[row["id"]] = from_job(row)
    return [_event(row, objects.get(_object_id(row))) for row in rows]


def _object_id(row: Row) -> UUID:
    """The id of an event's object: the transaction, hold or job that it names, otherwise the card.
    For a change of state, the column has the id of the change itself; it is the id of a
    transaction only when the card was activated, expired or reinstated.
    """
    itself = row["type"] in TRANSACTION_EVENTS or row["type"].startswith(
        ("hold.", "job.", *RECORDED_WHOLE)
    )
    about: UUID = row["resource_id"] if itself else row["card"]
    return about


async def _read_by_ids(
    reads: Reader, select: str, merchant: UUID, wanted: list[UUID]
) -> Sequence[Row]:
    if not wanted:
        return []
    return await reads.all(
        f"{select} where merchant = $1 and id = any($2)",
        merchant,
        wanted,
    )


def _event(row: Mapping[str, Any], current: Any) -> Event:
    was: dict[str, Any] = msgspec.to_builtins(current) if current is not None else {}
    if row["type"].startswith(RECORDED_WHOLE):
        was = msgspec.json.decode(row["data"])
    elif row["data"] is not None:
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
    """Parse a program's id: events store the bare UUID, cards show the public id."""
    return ids.parse_id("prg", text) or UUID(text)
