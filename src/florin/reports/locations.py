"""Locations: what was redeemed, given back, sold and loaded at each location within a period."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from florin.kit.postgres.database import Database
from florin.kit.valkey.shared_values import SharedValues
from florin.reports.period_sums import EntrySum, PeriodSums

# The kinds of a till; one ordered index scan for each (transfer_by_kind).
SOLD, LOADED = ("issue", "activate"), ("load",)
REDEEMED, REFUNDED, CASHED_OUT = ("redeem",), ("refund",), ("cash_out",)
_KINDS = (*SOLD, *LOADED, *REDEEMED, *REFUNDED, *CASHED_OUT)
_NONE = EntrySum(0, 0)

_SUMS = f"""
select coalesce(t.location, '') as location, t.kind::text as kind, count(*) as entries,
  sum(case when t.credit = 'card' then t.amount else -t.amount end)::bigint as change
from unnest('{{{",".join(_KINDS)}}}'::florin.transfer_kind[]) k
cross join lateral (
  select t.location, t.kind, t.credit, t.amount from florin.transfer t
  where t.merchant = $1 and t.kind = k and t.currency = $2
    and t.created_at >= $3 and t.created_at < $4
) t group by 1, 2
"""  # noqa: S608 -- only kinds of this module
_CLOCK = """
select clock(id) as here, clock_offset <> '0' as moved from florin.merchant where id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationActivity:
    """What moved at a location, in minor units; `location` is empty for what names none."""

    location: str
    kinds: dict[str, EntrySum]

    def change(self, *kinds: str) -> int:
        """By how much they changed what is owed on cards."""
        return sum(self.kinds.get(kind, _NONE).change for kind in kinds)

    def entries(self, *kinds: str) -> int:
        return sum(self.kinds.get(kind, _NONE).entries for kind in kinds)

    @property
    def earned(self) -> int:
        """What was spent on cards there, less what was given back."""
        return -self.change(*REDEEMED, *REFUNDED)


class LocationReports:
    """Reads what moved by location on the connections of reports."""

    def __init__(self, database: Database, shared: SharedValues | None = None) -> None:
        self._database = database
        self._sums = PeriodSums(database, _SUMS, ("location", "kind"), shared)

    async def between(
        self, merchant: UUID, currency: str, begins: datetime, ends: datetime
    ) -> list[LocationActivity]:
        """The locations at which something moved in [begins, ends), the one that earned most
        first, and last what names no location.
        """
        clock = await self._database.one(_CLOCK, merchant)
        assert clock is not None
        now = None if clock["moved"] else clock["here"]
        found: dict[str, dict[str, EntrySum]] = {}
        sums = await self._sums.between(merchant, currency, begins, ends, now=now)
        for (location, kind), each in sums.items():
            found.setdefault(location, {})[kind] = each
        locations = [
            LocationActivity(location=location, kinds=kinds) for location, kinds in found.items()
        ]
        return sorted(locations, key=lambda each: (not each.location, -each.earned, each.location))
