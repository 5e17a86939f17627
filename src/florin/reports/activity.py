"""Activity: a merchant's movements by month, and its cards by state, for the console.

The sums of months are those of `period_sums.py`; the states are kept as in `kept_answers.py`.
"""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from florin.kit.postgres.database import Database
from florin.kit.valkey.shared_values import SharedValues
from florin.reports.kept_answers import KeptAnswers
from florin.reports.period_sums import EntrySum, PeriodSums

# Bounds of a month in the merchant's time zone, as instants.
_MONTHS = """
select g.n, (m0 - make_interval(months => g.n))::date as first,
  (m0 - make_interval(months => g.n)) at time zone m.timezone as begins,
  (m0 - make_interval(months => g.n - 1)) at time zone m.timezone as ends,
  m.created_at as since,
  case when m.clock_offset = '0' then clock(m.id) end as now
from florin.merchant m
cross join lateral (select date_trunc('month', clock(m.id) at time zone m.timezone) as m0) s
cross join generate_series(0, $2::int - 1) as g (n)
where m.id = $1 order by g.n desc
"""
# One ordered index scan for each kind (transfer_by_kind), also of the kinds that move no card's
# money, which have no row: those that do move it must all be counted, or no sum would be right.
_SUMS = """
select t.kind::text as kind, count(*) as entries,
  (coalesce(sum(t.amount) filter (where t.credit = 'card'), 0)
    - coalesce(sum(t.amount) filter (where t.debit = 'card'), 0))::bigint as change
from unnest(enum_range(null::florin.transfer_kind)) k
cross join lateral (
  select t.kind, t.debit, t.credit, t.amount from florin.transfer t
  where t.merchant = $1 and t.kind = k and t.currency = $2
    and t.created_at >= $3 and t.created_at < $4 and (t.debit = 'card' or t.credit = 'card')
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
class MonthActivity:
    """One month in the merchant's time zone: `begins` and `ends` are instants; `opening` is what
    was owed on cards when it began, in minor units.
    """

    first: date
    begins: datetime
    ends: datetime
    opening: int
    kinds: dict[str, EntrySum]

    @property
    def closing(self) -> int:
        """What is owed at its end, or now."""
        return self.opening + sum(each.change for each in self.kinds.values())

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

    def __init__(self, database: Database, shared: SharedValues | None = None) -> None:
        self._database = database
        self._sums = PeriodSums(database, _SUMS, ("kind",), shared)
        self._states = KeptAnswers(self._read_states)

    async def months(self, merchant: UUID, currency: str, count: int) -> list[MonthActivity]:
        """The last `count` months, the current one last. Each opens with what the one before it
        closed with: the newest closes with the balances of all cards.
        """
        rows = await self._database.all(_MONTHS, merchant, count)
        now, since, begins = rows[0]["now"], rows[0]["since"], rows[0]["begins"]
        owed = 0
        if since < begins:  # it has entries before these months
            before = await self._sums.between(merchant, currency, since, begins, now=now)
            owed = sum(each.change for each in before.values())
        found: list[MonthActivity] = []
        for row in rows:
            begins, ends = row["begins"], row["ends"]
            sums = await self._sums.between(merchant, currency, begins, ends, now=now)
            month = MonthActivity(
                first=row["first"],
                begins=begins,
                ends=ends,
                opening=owed,
                kinds={kind: each for (kind,), each in sums.items()},
            )
            owed = month.closing
            found.append(month)
        return found

    async def states(self, merchant: UUID, currency: str) -> list[StateTotal]:
        return await self._states.find(merchant, currency)

    async def _read_states(self, merchant: UUID, currency: str) -> list[StateTotal]:
        rows = await self._database.all(_STATES, merchant, currency)
        return [
            StateTotal(state=row["state"], cards=row["cards"], owed=row["owed"]) for row in rows
        ]
