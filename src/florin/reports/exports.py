"""Exports: cards and entries as CSV, streamed: a page of the database at a time, of any length.

An export is of an instant, or of a time that has passed: money that moves while it runs does not
change it. Personal data are as they are now.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from florin.cards.transactions.queries import SIDES, entry_from_row
from florin.kit import ids
from florin.kit.csv_text import Cell, csv_rows
from florin.kit.postgres.database import Row
from florin.reports.report_runner import ReportRunner

PAGE = 1000

CARD_COLUMNS = (
    "card", "program", "state", "currency", "balance", "issued_at", "expires_at", "last4",
    "recipient_name", "recipient_email", "metadata", "job",
)  # fmt: skip
ENTRY_COLUMNS = (
    "entry", "card", "kind", "amount", "currency", "balance_after", "sequence", "actor",
    "reference", "location", "reason", "source", "metadata", "created_at",
)  # fmt: skip

# The balance after the last entry until then; the state and the date of the last event with them.
_CARDS = """
select a.id, a.program, a.currency, a.issued_at, coalesce(b.balance, 0) as balance, c.last4,
  c.recipient_name, c.recipient_email, c.metadata, c.job, e.expires_at,
  case when e.state in ('active', 'blocked') and e.expires_at <= $2 then 'expired'
    else e.state end as state
from florin.account a
join florin.card c on c.merchant = a.merchant and c.id = a.id
left join lateral (select x.balance from (
  (select t.debit_sequence as number, t.debit_balance as balance from florin.transfer t
   where t.merchant = a.merchant and t.debit_card = a.id and t.created_at <= $2
   order by t.debit_sequence desc limit 1)
  union all
  (select t.credit_sequence, t.credit_balance from florin.transfer t
   where t.merchant = a.merchant and t.credit_card = a.id and t.created_at <= $2
   order by t.credit_sequence desc limit 1)) x order by x.number desc limit 1) b on true
left join lateral (
  select e.data->>'state' as state, (e.data->>'expires_at')::timestamptz as expires_at
  from florin.event e where e.merchant = a.merchant and e.card = a.id and e.created_at <= $2
    and e.data ? 'expires_at' and e.type like 'card.%'
  order by e.sequence desc limit 1) e on true
where a.merchant = $1 and a.issued_at <= $2 and (a.issued_at, a.id) > ($3, $4)
order by a.issued_at, a.id limit $5
"""
_ENTRIES = f"""
select t.*, e.* from (
  select t.* from unnest(enum_range(null::florin.transfer_kind)) k cross join lateral (
    select t.* from florin.transfer t
    where t.merchant = $1 and t.kind = k and (t.created_at, t.id) > ($3, $4) and t.created_at < $2
    order by t.created_at, t.id limit $5) t
  order by t.created_at, t.id limit $5
) t {SIDES} where e.card is not null order by t.created_at, t.id, e.side
"""  # noqa: S608 -- our own text


def export_cards(
    reports: ReportRunner, merchant: UUID, as_of: datetime, after: datetime
) -> AsyncGenerator[bytes]:
    """All cards that were issued until `as_of`, with their balances and states then. `after`: an
    instant before all of them.
    """
    return _stream(reports, merchant, _CARDS, as_of, after, CARD_COLUMNS, _card_row, at="issued_at")


def export_entries(
    reports: ReportRunner, merchant: UUID, begin: datetime, end: datetime
) -> AsyncGenerator[bytes]:
    """All entries from `begin` on and before `end`, in the order in which they happened."""
    return _stream(
        reports, merchant, _ENTRIES, end, begin, ENTRY_COLUMNS, _entry_row, at="created_at"
    )


async def _stream(
    reports: ReportRunner,
    merchant: UUID,
    sql: str,
    bound: datetime,
    after: datetime,
    columns: Sequence[str],
    make: Callable[[Any], list[Cell]],
    *,
    at: str,
) -> AsyncGenerator[bytes]:
    yield csv_rows([columns])
    # No id is less: what happened at `after` itself follows.
    last: tuple[datetime, UUID] = (after, UUID(int=0))
    while True:
        rows: Sequence[Row] = await reports.rows(merchant, sql, merchant, bound, *last, PAGE)
        if rows:
            yield csv_rows(make(row) for row in rows)
            last = (rows[-1][at], rows[-1]["id"])
        # A transfer between cards has two rows, so that a full page may have more than PAGE.
        if len(rows) < PAGE:
            return


def _card_row(row: Any) -> list[Cell]:
    return [
        ids.show_id("crd", row["id"]),
        ids.show_id("prg", row["program"]),
        row["state"],
        row["currency"],
        row["balance"],
        row["issued_at"],
        row["expires_at"],
        row["last4"],
        row["recipient_name"],
        row["recipient_email"],
        None if row["metadata"] == "{}" else row["metadata"],
        ids.show_id("job", row["job"]) if row["job"] else None,
    ]


def _entry_row(row: Any) -> list[Cell]:
    entry = entry_from_row(row)
    return [
        entry.id,
        entry.card,
        entry.kind,
        entry.amount,
        entry.currency,
        entry.balance_after,
        entry.sequence,
        entry.actor,
        entry.reference,
        entry.location,
        entry.reason,
        entry.source,
        row["metadata"] if entry.metadata else None,
        entry.created_at,
    ]
