"""Lists: cards, their statements, and the nouns of the ledger, newest first."""

from typing import Any
from uuid import UUID

from florin.cards.card import COLUMNS, JOINS, Card, from_row
from florin.cards.nouns import PREFIXES, Entry, Hold, Moved, from_hold, from_transfer, metadata
from florin.kit import ids
from florin.kit.db import Database, Reader
from florin.kit.errors import NotFound

# A refund states the total returned so far, so the latest one knows.
_REFUNDED = """,
  case when t.kind = 'redeem' then (
    select max(f.refunded) from florin.transfer f
    where f.merchant = t.merchant and f.origin = t.id and f.kind = 'refund') end
  as refunded_so_far
"""

_HOLD = """
  h.id, h.card, h.amount, h.captured, h.currency, h.redemption, h.reference, h.location, h.metadata,
  h.expires_at, h.created_at,
  case when h.state = 'open' and h.expires_at <= statement_timestamp() + m.clock_offset
    then 'expired' else h.state end::text as state
"""

# The two sides of a transfer, as entries of the cards on them.
_SIDES = """
cross join lateral (values
  ('d', t.debit_card, -t.amount, t.debit_balance, t.debit_sequence),
  ('c', t.credit_card, t.amount, t.credit_balance, t.credit_sequence)
) as e (side, card, change, after, sequence)
"""

_STATEMENT = """
select t.*, t.debit_card as card, -t.amount as change, t.debit_balance as after,
  t.debit_sequence as sequence, 'd' as side
from florin.transfer t where t.merchant = $1 and t.debit_card = $2
union all
select t.*, t.credit_card, t.amount, t.credit_balance, t.credit_sequence, 'c'
from florin.transfer t where t.merchant = $1 and t.credit_card = $2
"""


async def cards(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    program: UUID | None = None,
    state: str | None = None,
    last4: str | None = None,
) -> list[Card]:
    rows = await reads.all(
        f"""select * from (select {COLUMNS} from florin.account a {JOINS}
        where a.merchant = $1 and ($2::uuid is null or a.id < $2)
          and ($3::uuid is null or a.program = $3) and ($5::text is null or c.last4 = $5)) r
        where ($4::text is null or r.state = $4)
        order by r.id desc limit $6""",  # noqa: S608 -- our own text
        merchant,
        after,
        program,
        state,
        last4,
        limit,
    )
    return [from_row(row) for row in rows]


async def moved(
    reads: Reader,
    merchant: UUID,
    kind: str,
    *,
    limit: int,
    after: UUID | None,
    card: UUID | None = None,
) -> list[Moved]:
    """Redemptions, refunds, loads, transfers or adjustments."""
    rows = await reads.all(
        f"""select t.* {_REFUNDED} from florin.transfer t
        where t.merchant = $1 and t.kind = $2::text::florin.transfer_kind
          and ($3::uuid is null or t.id < $3)
          and ($4::uuid is null or t.debit_card = $4 or t.credit_card = $4)
        order by t.id desc limit $5""",  # noqa: S608 -- our own text
        merchant,
        kind,
        after,
        card,
        limit,
    )
    return [from_transfer(row) for row in rows]


async def one_moved(reads: Reader, merchant: UUID, kind: str, text: str) -> Moved:
    """Raises NotFound."""
    uuid = ids.parse(PREFIXES[kind], text)
    row = uuid and await reads.one(
        f"select t.* {_REFUNDED} from florin.transfer t"  # noqa: S608 -- our own text
        " where t.merchant = $1 and t.id = $2 and t.kind = $3::text::florin.transfer_kind",
        merchant,
        uuid,
        kind,
    )
    if not row:
        raise NotFound
    return from_transfer(row)


async def holds(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    card: UUID | None = None,
    state: str | None = None,
) -> list[Hold]:
    rows = await reads.all(
        f"""select * from (select {_HOLD} from florin.hold h
          join florin.merchant m on m.id = h.merchant
          where h.merchant = $1 and ($2::uuid is null or h.id < $2)
            and ($3::uuid is null or h.card = $3)) r
        where ($4::text is null or r.state = $4) order by r.id desc limit $5""",  # noqa: S608
        merchant,
        after,
        card,
        state,
        limit,
    )
    return [from_hold(row) for row in rows]


async def one_hold(database: Database, merchant: UUID, text: str) -> Hold:
    """Raises NotFound."""
    uuid = ids.parse("hld", text)
    row = uuid and await database.one(
        f"select {_HOLD} from florin.hold h join florin.merchant m on m.id = h.merchant"  # noqa: S608
        " where h.merchant = $1 and h.id = $2",
        merchant,
        uuid,
    )
    if not row:
        raise NotFound
    return from_hold(row)


async def statement(
    reads: Reader, merchant: UUID, card: UUID, *, limit: int, before: int | None
) -> list[Entry]:
    """The entries of a card, latest first; `before` is a sequence number."""
    rows = await reads.all(
        f"select * from ({_STATEMENT}) e"  # noqa: S608 -- our own text
        " where ($3::bigint is null or e.sequence < $3) order by e.sequence desc limit $4",
        merchant,
        card,
        before,
        limit,
    )
    return [entry(row) for row in rows]


async def entries(
    reads: Reader, merchant: UUID, *, limit: int, after: tuple[UUID, str] | None
) -> list[Entry]:
    """The entries of all cards; of a transfer between cards both sides."""
    transfer, side = after or (None, None)
    rows = await reads.all(
        # A transfer has one entry at least, so this many transfers are enough for a page.
        f"""select t.*, e.* from (
          select * from florin.transfer t
          where t.merchant = $1 and ($2::uuid is null or t.id <= $2)
            and (t.debit_card is not null or t.credit_card is not null)
          order by t.id desc limit $4 + 1
        ) t {_SIDES}
        where e.card is not null and ($2::uuid is null or (t.id, e.side) < ($2, $3::text))
        order by t.id desc, e.side desc limit $4""",  # noqa: S608 -- our own text
        merchant,
        transfer,
        side,
        limit,
    )
    return [entry(row) for row in rows]


async def one_entry(reads: Reader, merchant: UUID, text: str) -> Entry:
    """Raises NotFound."""
    which = entry_id(text)
    row = which and await reads.one(
        f"select t.*, e.* from florin.transfer t {_SIDES}"  # noqa: S608 -- our own text
        " where t.merchant = $1 and t.id = $2 and e.side = $3 and e.card is not null",
        merchant,
        *which,
    )
    if not row:
        raise NotFound
    return entry(row)


def entry_id(text: str) -> tuple[UUID, str] | None:
    """`ent_…_d` and `ent_…_c` are the debit and the credit side of a transfer."""
    body, _, side = text.rpartition("_")
    uuid = ids.parse("ent", body)
    return (uuid, side) if uuid is not None and side in {"c", "d"} else None


def entry(row: Any) -> Entry:
    kind: str = row["kind"]
    return Entry(
        id=f"{ids.show('ent', row['id'])}_{row['side']}",
        card=ids.show("crd", row["card"]),
        kind=kind,
        amount=row["change"],
        currency=row["currency"],
        balance_after=row["after"],
        sequence=row["sequence"],
        actor=row["actor"],
        reference=row["reference"],
        location=row["location"],
        reason=row["reason"],
        source=ids.show(PREFIXES[kind], row["id"]) if kind in PREFIXES else None,
        metadata=metadata(row["metadata"]),
        created_at=row["created_at"],
    )
