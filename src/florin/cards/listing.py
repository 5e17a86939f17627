"""Listing: a merchant's cards, newest first, with filters."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from florin.cards.card import COLUMNS, JOINS, Card, State, card_from_row
from florin.kit import plain_text
from florin.kit.http.list_filters import Bounds, Conditions, find_cursor, merge_branches
from florin.kit.postgres.database import Reader

_AFTER = "select issued_at, id from florin.account where merchant = $1 and id = $2"
_NOW = "statement_timestamp() + m.clock_offset"
# A card past its expiry date is expired, before the job that records it has run.
_BEFORE_EXPIRY = f" and (a.expires_at is null or a.expires_at > {_NOW})"
_PAST_EXPIRY = f" and a.state in ('active', 'blocked') and a.expires_at <= {_NOW}"
# Expired cards that are not recorded yet are few; `offset 0` makes PostgreSQL find them first.
_LAPSED = """(
  select z.id from florin.account z
  where z.merchant = $1 and z.state in ('active', 'blocked') and z.expires_at <=
    (select statement_timestamp() + m.clock_offset from florin.merchant m where m.id = $1) offset 0
) z"""
_RECIPIENT = [
    "lower({0}.recipient_email) = lower({1})",
    (
        "lower({0}.recipient_name) = lower({1})"
        " and lower({0}.recipient_email) is distinct from lower({1})"
    ),
]
_HAS = (
    "exists (select from florin.card_metadata p where p.merchant = a.merchant and"
    " p.token = florin.metadata_token({}, {}) and p.issued_at = a.issued_at and p.card = a.id)"
)
_ORDER = "listed_at desc, listed_id desc"


class CardFilter(msgspec.Struct, kw_only=True, frozen=True):
    """The filters of a list of cards; None matches any card."""

    program: UUID | None = None
    state: State | None = None
    last4: str | None = None
    recipient: str | None = None  # an e-mail address or a name, in any case
    created: Bounds = ()
    metadata: Mapping[str, str] = {}
    job: UUID | None = None  # that issued it
    reference: str | None = None


class _Listed(NamedTuple):
    """What a list is read from, in its order: the table, and its columns of the time and card."""

    table: str
    at: str
    card: str


async def list_cards(
    reads: Reader, merchant: UUID, *, limit: int, after: UUID | None, only: CardFilter
) -> list[Card]:
    """List cards. Raises InvalidRequest when `after` is not the id of a card."""
    last = await find_cursor(reads, _AFTER, merchant, after)
    where = Conditions([merchant])
    where.add_equal("a.program", only.program)
    where.add_equal("c.last4", only.last4)
    where.add_equal("c.reference", only.reference)
    pairs = list(only.metadata.items())
    listed_from = _Listed("florin.account a", "a.issued_at", "a.id")
    if only.job is not None:
        listed_from = _Listed("florin.card s", "s.issued_at", "s.id")
    elif pairs:
        listed_from = _Listed("florin.card_metadata s", "s.issued_at", "s.card")
    elif only.recipient is not None:
        listed_from = _Listed("florin.card s", "s.issued_at", "s.id")
    at, card = listed_from.at, listed_from.card
    for pair in pairs if only.job is not None else pairs[1:]:
        where.add(_HAS, *pair)
    outer = where.with_alias()
    if only.job is not None:
        outer.add_equal("s.job", only.job)
    elif pairs:
        outer.add("s.token = florin.metadata_token({}, {})", *pairs[0])
    outer.add_bounds(at, only.created)
    if last is not None:
        outer.add(f"({at}, {card}) < ({{}}, {{}})", last["issued_at"], last["id"])
    branches = [
        _select(f"{where}{more}", f"{outer}{found}", listed_from, lapsed=_PAST_EXPIRY in more)
        for more, found in _branches(where, only, listed_from)
    ]
    page = where.bind(limit)
    rows: Any = await reads.all(merge_branches(branches, _ORDER, page), *where.arguments)
    return [card_from_row(row) for row in rows]


def _select(inner: str, outer: str, listed_from: _Listed, *, lapsed: bool) -> str:
    cards = f"select {COLUMNS} from florin.account a {JOINS} where a.merchant = $1{inner}"  # noqa: S608 -- our own text
    if listed_from.card.startswith("s."):
        # Its index has the order of the list. LATERAL … LIMIT 1 probes the cards one by one: for a
        # join the planner would expect hardly any rows and sort all of them.
        return (
            f"select r.*, {listed_from.at} as listed_at, {listed_from.card} as listed_id"  # noqa: S608 -- our own text
            f" from {listed_from.table}"
            f" cross join lateral ({cards} and a.id = {listed_from.card} limit 1) r"
            f" where s.merchant = $1{outer}"
        )
    if lapsed:
        return (
            f"select r.*, r.issued_at as listed_at, r.id as listed_id from {_LAPSED}"  # noqa: S608 -- our own text
            f" cross join lateral ({cards} and a.id = z.id{outer} limit 1) r"
        )
    listed = "a.issued_at as listed_at, a.id as listed_id"
    return f"{cards.replace(COLUMNS, f'{COLUMNS}, {listed}', 1)}{outer}"


def _branches(where: Conditions, only: CardFilter, listed_from: _Listed) -> list[tuple[str, str]]:
    """The alternatives of the state and recipient filters, each for an index of its own: the
    conditions within the lateral join, and those of what the list is read from.
    """
    states = [""]
    if only.state in {"active", "blocked"}:
        states = [f" and a.state = '{only.state}'{_BEFORE_EXPIRY}"]
    elif only.state is not None:
        states = [f" and a.state = '{only.state}'"]
        if only.state == "expired":
            states.append(_PAST_EXPIRY)
    recipients = [""]
    if only.recipient is not None:
        parameter = where.bind(plain_text.clean_filter(only.recipient))
        card = "s" if listed_from.table == "florin.card s" else "c"
        recipients = [f" and {each.format(card, parameter)}" for each in _RECIPIENT]
        if card == "c":
            return [(state + recipient, "") for state in states for recipient in recipients]
    return [(state, recipient) for state in states for recipient in recipients]
