"""Queries: find a transaction, a hold or an entry by its id."""

from typing import Any
from uuid import UUID

from florin.cards.transactions.models import (
    PREFIXES,
    Entry,
    Hold,
    Transaction,
    decode_metadata,
    hold_from_row,
    transaction_from_row,
)
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database, Reader

# Each refund records the total refunded so far: the largest is the current total.
REFUNDED = """,
  case when t.kind = 'redeem' then (
    select max(f.refunded) from florin.transfer f
    where f.merchant = t.merchant and f.origin = t.id and f.kind = 'refund') end
  as refunded_so_far
"""

HOLD = """
  h.id, h.card, h.amount, h.captured, h.currency, h.redemption, h.reference, h.location, h.metadata,
  h.expires_at, h.created_at,
  case when h.state = 'open' and h.expires_at <= statement_timestamp() + m.clock_offset
    then 'expired' else h.state end::text as state
"""

# The two sides of a transfer, as entries of the cards on them.
SIDES = """
cross join lateral (values
  ('d', t.debit_card, -t.amount, t.debit_balance, t.debit_sequence),
  ('c', t.credit_card, t.amount, t.credit_balance, t.credit_sequence)
) as e (side, card, change, after, sequence)
"""


async def find_transaction(reads: Reader, merchant: UUID, kind: str, text: str) -> Transaction:
    """Raises NotFound."""
    uuid = ids.parse_id(PREFIXES[kind], text)
    row = uuid and await reads.one(
        f"select t.* {REFUNDED} from florin.transfer t"  # noqa: S608 -- our own text
        " where t.merchant = $1 and t.id = $2 and t.kind = $3::text::florin.transfer_kind",
        merchant,
        uuid,
        kind,
    )
    if not row:
        raise NotFound
    return transaction_from_row(row)


async def find_hold(database: Database, merchant: UUID, text: str) -> Hold:
    """Raises NotFound."""
    uuid = ids.parse_id("hld", text)
    row = uuid and await database.one(
        f"select {HOLD} from florin.hold h join florin.merchant m on m.id = h.merchant"  # noqa: S608
        " where h.merchant = $1 and h.id = $2",
        merchant,
        uuid,
    )
    if not row:
        raise NotFound
    return hold_from_row(row)


async def find_entry(reads: Reader, merchant: UUID, text: str) -> Entry:
    """Raises NotFound."""
    entry = parse_entry_id(text)
    row = entry and await reads.one(
        f"select t.*, e.* from florin.transfer t {SIDES}"  # noqa: S608 -- our own text
        " where t.merchant = $1 and t.id = $2 and e.side = $3 and e.card is not null",
        merchant,
        *entry,
    )
    if not row:
        raise NotFound
    return entry_from_row(row)


def parse_entry_id(text: str) -> tuple[UUID, str] | None:
    """Parse an entry id: `ent_…_d` is the debit side of a transfer, `ent_…_c` the credit side."""
    body, _, side = text.rpartition("_")
    uuid = ids.parse_id("ent", body)
    return (uuid, side) if uuid is not None and side in {"c", "d"} else None


def entry_from_row(row: Any) -> Entry:
    kind: str = row["kind"]
    return Entry(
        id=f"{ids.show_id('ent', row['id'])}_{row['side']}",
        card=ids.show_id("crd", row["card"]),
        kind=kind,
        amount=row["change"],
        currency=row["currency"],
        balance_after=row["after"],
        sequence=row["sequence"],
        actor=row["actor"],
        reference=row["reference"],
        location=row["location"],
        reason=row["reason"],
        source=ids.show_id(PREFIXES[kind], row["id"]) if kind in PREFIXES else None,
        metadata=decode_metadata(row["metadata"]),
        created_at=row["created_at"],
    )
