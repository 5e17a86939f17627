"""History: redemptions, refunds, loads, transfers, adjustments and entries, newest first."""

from uuid import UUID

import msgspec

from florin.cards.transactions.models import Entry, EntryKind, Transaction, transaction_from_row
from florin.cards.transactions.queries import REFUNDED, SIDES, entry_from_row
from florin.kit import plain_text
from florin.kit.errors import InvalidRequest
from florin.kit.http.list_filters import Bounds, Conditions, find_cursor, merge_branches
from florin.kit.postgres.database import Reader, Row

_AFTER = """
select created_at, id, debit_card, credit_card, debit_sequence, credit_sequence
from florin.transfer where merchant = $1 and id = $2
"""
_OF_KIND = " and kind = $3::text::florin.transfer_kind"
_ORDER = "created_at desc, id desc"
# The side of a transfer on which the card is.
_SIDES_OF = {
    "redeem": ("debit",),
    "refund": ("credit",),
    "load": ("credit",),
    "cash_out": ("debit",),
}
_BOTH = ("debit", "credit")


class TransactionFilter(msgspec.Struct, kw_only=True, frozen=True):
    """The filters of a list of transactions; None matches any."""

    card: UUID | None = None
    reference: str | None = None
    location: str | None = None
    created: Bounds = ()


async def list_transactions(
    reads: Reader,
    merchant: UUID,
    kind: EntryKind,
    *,
    limit: int,
    after: UUID | None,
    only: TransactionFilter,
) -> list[Transaction]:
    """List transactions of one kind. Raises InvalidRequest when `after` is not one of them."""
    last = await find_cursor(reads, _AFTER + _OF_KIND, merchant, after, kind)
    where = _conditions(merchant, only)
    where.add(f"t.kind = '{kind}'")
    select = f"select t.* {REFUNDED} from florin.transfer t where t.merchant = $1"  # noqa: S608 -- our own text
    if only.card is None:
        if last is not None:
            where.add("(t.created_at, t.id) < ({}, {})", last["created_at"], last["id"])
        page = where.bind(limit)
        rows = await reads.all(
            merge_branches([f"{select}{where}"], _ORDER, page),
            *where.arguments,
        )
        return [transaction_from_row(row) for row in rows]
    if last is not None:
        before = entry_sequence(last, only.card)
        number = where.bind(before)
    else:
        number = None
    card, page = where.bind(only.card), where.bind(limit)
    # For one card, order by the sequence of its entries: it has no ties.
    branches = [
        select.replace("t.*", f"t.*, t.{side}_sequence as number")
        + f"{where} and t.{side}_card = {card}"
        + ("" if number is None else f" and t.{side}_sequence < {number}")
        for side in _SIDES_OF.get(kind, _BOTH)
    ]
    rows = await reads.all(merge_branches(branches, "number desc", page), *where.arguments)
    return [transaction_from_row(row) for row in rows]


async def list_card_entries(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    before: int | None,
    only: TransactionFilter,
    kind: EntryKind | None = None,
) -> list[Entry]:
    """List the entries of one card, newest first; `before` is a sequence number."""
    where = _conditions(merchant, only)
    if kind is not None:
        where.add(f"t.kind = '{kind}'")
    number = None if before is None else where.bind(before)
    card, page = where.bind(only.card), where.bind(limit)
    branches = [
        f"select t.*, t.{side}_card as card, {sign}t.amount as change, t.{side}_balance as after,"  # noqa: S608 -- our own text
        f" t.{side}_sequence as sequence, '{side[0]}' as side from florin.transfer t"
        f" where t.merchant = $1 and t.{side}_card = {card}{where}"
        + ("" if number is None else f" and t.{side}_sequence < {number}")
        for side, sign in (("debit", "-"), ("credit", ""))
    ]
    rows = await reads.all(merge_branches(branches, "sequence desc", page), *where.arguments)
    return [entry_from_row(row) for row in rows]


async def list_entries(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    after: tuple[UUID, str] | None,
    only: TransactionFilter,
    kind: EntryKind | None = None,
) -> list[Entry]:
    """List the entries of all cards; a transfer between cards has one on each side."""
    last = None if after is None else await find_cursor(reads, _AFTER, merchant, after[0])
    where = _conditions(merchant, only)
    rest = ""
    if after is not None and last is not None:
        at, transfer, side = (where.bind(each) for each in (last["created_at"], *after))
        where.add(f"(t.created_at, t.id) <= ({at}, {transfer})")
        rest = f" and (t.created_at, t.id, e.side) < ({at}, {transfer}, {side}::text)"
    page = where.bind(limit)
    # Each of these transfers has at least one entry, so this many of them fill a page. Money that
    # moves between other accounts has none.
    inner = (
        "select t.* from florin.transfer t where t.merchant = $1"
        " and (t.debit_card is not null or t.credit_card is not null)"
    )
    ordered = f"order by t.created_at desc, t.id desc limit {page} + 1"
    if kind is not None:
        inner += f" and t.kind = '{kind}'{where} {ordered}"
    elif only.reference is not None or only.location is not None:
        inner += f"{where} {ordered}"
    else:  # merge one ordered list for each kind: this list needs no index of its own
        inner = (
            "select t.* from unnest(enum_range(null::florin.transfer_kind)) k cross join lateral ("  # noqa: S608 -- our own text
            f"{inner} and t.kind = k{where} {ordered}) t {ordered}"
        )
    rows = await reads.all(
        f"select t.*, e.* from ({inner}) t {SIDES} where e.card is not null{rest}"  # noqa: S608 -- our own text
        f" order by t.created_at desc, t.id desc, e.side desc limit {page}",
        *where.arguments,
    )
    return [entry_from_row(row) for row in rows]


def entry_sequence(row: Row, card: UUID) -> int:
    """The sequence of a card's entry in a transfer. Raises InvalidRequest when there is none."""
    for side in _BOTH:
        if row[f"{side}_card"] == card:
            number: int = row[f"{side}_sequence"]
            return number
    raise InvalidRequest("no object of this list has this id", param="starting_after")


def _conditions(merchant: UUID, only: TransactionFilter) -> Conditions:
    where = Conditions([merchant])
    where.add_equal("t.reference", plain_text.clean_filter(only.reference))
    where.add_equal("t.location", plain_text.clean_filter(only.location))
    where.add_bounds("t.created_at", only.created)
    return where
