"""Journal: what moved on each account on each day, for bookkeeping; zero per currency."""

from datetime import datetime
from uuid import UUID

from florin.kit.csv_text import csv_rows
from florin.reports.report_runner import ReportRunner

COLUMNS = ("date", "currency", "account", "debit", "credit", "net")

_JOURNAL = """
select (s.created_at at time zone $4)::date::text as day, s.currency, s.account::text,
  sum(s.debit)::bigint as debit, sum(s.credit)::bigint as credit
from (
  select t.created_at, t.currency, t.debit as account, t.amount as debit, 0 as credit
  from florin.transfer t where t.merchant = $1 and t.created_at >= $2 and t.created_at < $3
  union all
  select t.created_at, t.currency, t.credit, 0, t.amount
  from florin.transfer t where t.merchant = $1 and t.created_at >= $2 and t.created_at < $3
) s group by 1, 2, 3 order by 1, 2, 3
"""


async def read_journal(
    reports: ReportRunner, merchant: UUID, begin: datetime, end: datetime, zone: str
) -> bytes:
    """The journal from `begin` on and before `end` as CSV: a row per day in `zone`, currency and
    account; `net` is debit minus credit, in minor units. Raises Overloaded.
    """
    rows = await reports.rows(merchant, _JOURNAL, merchant, begin, end, zone)
    lines = [
        (
            row["day"],
            row["currency"],
            row["account"],
            row["debit"],
            row["credit"],
            row["debit"] - row["credit"],
        )
        for row in rows
    ]
    return csv_rows([COLUMNS, *lines])
