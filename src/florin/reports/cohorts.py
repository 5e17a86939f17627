"""Cohorts: what became of the cards of each year of issue, and what is owed on them at an instant.

The sums are those of `period_sums.py`, for whole years of the merchant's time zone, and whole
months of the year of an instant, so that other instants share them. The part of a month before an
instant is read each time and not kept.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from florin.kit.valkey.shared_values import SharedValues
from florin.reports.period_sums import EntrySum, PeriodSums, Sums, add_sums
from florin.reports.report_runner import ReportRunner

SOLD, EXPIRED = ("issue", "activate"), ("expire", "reinstate")
# Redeemed, less what was given back.
SPENT = ("redeem", "refund")
_NONE = EntrySum(0, 0)
_INSTANT = timedelta(microseconds=1)

_PERIODS = """
select p.begins at time zone m.timezone as begins, p.ends at time zone m.timezone as ends,
  case when m.clock_offset = '0' then clock(m.id) end as now
from florin.merchant m
cross join lateral (
  select coalesce($2::timestamptz, clock(m.id)) at time zone m.timezone as until) u
cross join lateral (
  select y as begins, y + interval '1 year' as ends
  from generate_series(date_trunc('year', m.created_at at time zone m.timezone), u.until,
    interval '1 year') y
  where $2 is null or y < date_trunc('year', u.until)
  union all
  select y, y + interval '1 month'
  from generate_series(date_trunc('year', u.until), u.until, interval '1 month') y
  where $2 is not null
) p
where m.id = $1 order by p.begins
"""
# One ordered index scan for each kind (transfer_by_kind). A transfer between two cards counts on
# both, in the years of their own.
_SUMS = """
select extract(year from a.issued_at at time zone m.timezone)::int::text as year,
  t.kind::text as kind, count(*) as entries, sum(s.change)::bigint as change
from unnest(enum_range(null::florin.transfer_kind)) k
cross join lateral (
  select t.kind, t.debit_card, t.credit_card, t.amount from florin.transfer t
  where t.merchant = $1 and t.kind = k and t.currency = $2
    and t.created_at >= $3 and t.created_at < $4 and (t.debit = 'card' or t.credit = 'card')
) t
cross join lateral (values (t.debit_card, -t.amount), (t.credit_card, t.amount)) s (card, change)
join florin.account a on a.merchant = $1 and a.id = s.card
join florin.merchant m on m.id = $1
group by 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The cards that were issued in a year, in minor units."""

    year: int
    kinds: dict[str, EntrySum]

    @property
    def owed(self) -> int:
        return sum(each.change for each in self.kinds.values())

    @property
    def cards(self) -> int:
        """How many got their first money."""
        return sum(self.kinds.get(kind, _NONE).entries for kind in SOLD)

    def change(self, *kinds: str) -> int:
        """By how much they changed what is owed on cards."""
        return sum(self.kinds.get(kind, _NONE).change for kind in kinds)


class CohortReports:
    """Reads cohorts on the connections of reports."""

    def __init__(self, reports: ReportRunner, shared: SharedValues | None = None) -> None:
        self._reports = reports
        self._sums = PeriodSums(reports.database, _SUMS, ("year", "kind"), shared)

    async def at(self, merchant: UUID, currency: str, as_of: datetime | None) -> list[Cohort]:
        """The cohorts at an instant, its entries included, or now; the newest year first.
        In the merchant's turn. Raises Overloaded.
        """
        async with self._reports.turn(merchant):
            sums = await self._read(merchant, currency, as_of)
        found: dict[str, dict[str, EntrySum]] = {}
        for (year, kind), each in sums.items():
            found.setdefault(year, {})[kind] = each
        cohorts = [Cohort(year=int(year), kinds=kinds) for year, kinds in found.items()]
        return sorted(cohorts, key=lambda each: -each.year)

    async def _read(self, merchant: UUID, currency: str, as_of: datetime | None) -> Sums:
        sums: Sums = {}
        for row in await self._reports.database.all(_PERIODS, merchant, as_of):
            ends, now = row["ends"], row["now"]
            if as_of is not None and as_of + _INSTANT < ends:
                ends, now = as_of + _INSTANT, None  # of this instant only: not kept
            part = await self._sums.between(merchant, currency, row["begins"], ends, now=now)
            sums = add_sums(sums, part)
        return sums
