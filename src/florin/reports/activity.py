"""Activity: a merchant's movements by month, and its cards by state, for the console.

Both read much of a large merchant's ledger. A month that has ended never changes, so its sums are
kept; the states are kept for a multiple of the time that it took to count them, so that looking at
a page often costs a bounded share of the database, and a small merchant sees each change at once.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from florin.kit.postgres.database import Database

KINDS = ("issue", "activate", "load", "redeem", "refund", "adjust", "expire", "reinstate")
_KEPT = 4_000  # answers, of all merchants
_SETTLED = timedelta(hours=1)  # after its end no transaction of a month still runs
_COST_FACTOR = 20

# Bounds of a month in the merchant's time zone, as instants.
_MONTHS = """
select g.n, (m0 - make_interval(months => g.n))::date as first,
  (m0 - make_interval(months => g.n)) at time zone m.timezone as begins,
  (m0 - make_interval(months => g.n - 1)) at time zone m.timezone as ends,
  clock(m.id) as now
from florin.merchant m
cross join lateral (select date_trunc('month', clock(m.id) at time zone m.timezone) as m0) s
cross join generate_series(0, $2::int - 1) as g (n)
where m.id = $1 order by g.n desc
"""
# One ordered index scan for each kind (transfer_by_kind).
_SUMS = """
select t.kind::text as kind, count(*) as entries, sum(
  case when t.debit_card is null then t.amount else -t.amount end)::bigint as change
from unnest($5::text[]::florin.transfer_kind[]) k
cross join lateral (
  select t.kind, t.debit_card, t.amount from florin.transfer t
  where t.merchant = $1 and t.kind = k and t.currency = $2
    and t.created_at >= $3 and t.created_at < $4
) t group by 1
"""
_STATES = """
select case when a.state in ('active', 'blocked') and a.expires_at <= clock(m.id)
    then 'expired' else a.state::text end as state,
  count(*) as cards, sum(a.balance)::bigint as owed
from florin.account a join florin.merchant m on m.id = a.merchant
where a.merchant = $1 and a.currency = $2 group by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTotal:
    """The movements of one kind: how many, and how they changed what is owed on cards."""

    entries: int
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthActivity:
    """One month in the merchant's time zone: `begins` and `ends` are instants."""

    first: date
    begins: datetime
    ends: datetime
    kinds: dict[str, KindTotal]

    def change(self, *kinds: str) -> int:
        return sum(self.kinds[kind].change for kind in kinds if kind in self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTotal:
    """The cards in one state, and what is owed on them."""

    state: str
    cards: int
    owed: int


class ActivityReports:
    """Reads activity on the connections of reports, and keeps what does not change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._months: OrderedDict[tuple[UUID, str, datetime, datetime], dict[str, KindTotal]] = (
            OrderedDict()
        )
        self._states: OrderedDict[tuple[UUID, str], tuple[float, list[StateTotal]]] = OrderedDict()

    async def months(self, merchant: UUID, currency: str, count: int) -> list[MonthActivity]:
        """The last `count` months, the current one last."""
        rows = await self._database.all(_MONTHS, merchant, count)
        return [
            MonthActivity(
                first=row["first"],
                begins=row["begins"],
                ends=row["ends"],
                kinds=await self.between(
                    merchant, currency, row["begins"], row["ends"], now=row["now"]
                ),
            )
            for row in rows
        ]

    async def between(
        self,
        merchant: UUID,
        currency: str,
        begins: datetime,
        ends: datetime,
        *,
        now: datetime | None = None,
    ) -> dict[str, KindTotal]:
        """The movements in [begins, ends) by kind. With `now`, of the merchant's clock, the answer
        for a time that has ended is kept.
        """
        key = (merchant, currency, begins, ends)
        if key in self._months:
            self._months.move_to_end(key)
            return self._months[key]
        rows = await self._database.all(_SUMS, merchant, currency, begins, ends, list(KINDS))
        found = {
            row["kind"]: KindTotal(entries=row["entries"], change=row["change"]) for row in rows
        }
        if now is not None and ends + _SETTLED < now:
            self._months[key] = found
            while len(self._months) > _KEPT:
                self._months.popitem(last=False)
        return found

    async def states(self, merchant: UUID, currency: str) -> list[StateTotal]:
        key = (merchant, currency)
        known = self._states.get(key)
        began = time.monotonic()
        if known is not None and known[0] > began:
            return known[1]
        rows = await self._database.all(_STATES, merchant, currency)
        found = [
            StateTotal(state=row["state"], cards=row["cards"], owed=row["owed"]) for row in rows
        ]
        ended = time.monotonic()
        self._states[key] = (ended + _COST_FACTOR * (ended - began), found)
        self._states.move_to_end(key)
        while len(self._states) > _KEPT:
            self._states.popitem(last=False)
        return found
