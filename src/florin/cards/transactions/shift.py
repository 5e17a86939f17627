"""Shift: what one actor took and gave back today, in the time zone of the merchant."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from florin.cards.transactions.models import transaction_from_row
from florin.kit.postgres.database import Reader

SHOWN_MAX = 200

_SINCE = """
select date_trunc('day', clock(m.id) at time zone m.timezone) at time zone m.timezone as since
from florin.merchant m where m.id = $1
"""
# One ordered index scan for each kind (transfer_by_kind), of one day.
_STEPS = """
select t.*, c.last4, case when t.kind = 'redeem' then coalesce((
    select max(f.refunded) from florin.transfer f
    where f.merchant = t.merchant and f.origin = t.id and f.kind = 'refund'), 0) end
  as refunded_so_far
from unnest(array['redeem', 'refund']::florin.transfer_kind[]) k
cross join lateral (
  select * from florin.transfer t
  where t.merchant = $1 and t.kind = k and t.created_at >= $3 and t.actor = $2
  order by t.created_at desc, t.id desc limit $4
) t
join florin.card c on c.merchant = t.merchant and c.id = coalesce(t.debit_card, t.credit_card)
order by t.created_at desc, t.id desc limit $4
"""
_TOTALS = """
select t.kind::text as kind, t.currency, count(*) as steps, sum(t.amount)::bigint as amount
from florin.transfer t
where t.merchant = $1 and t.kind in ('redeem', 'refund') and t.created_at >= $3 and t.actor = $2
group by 1, 2 order by 2, 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftStep:
    """A redemption or a refund, with the last four characters of its card's code."""

    transaction: Any
    last4: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftTotal:
    """What was taken, given back, and remains, in one currency; in minor units."""

    currency: str
    takings: int
    taken: int
    givings: int
    given_back: int

    @property
    def rest(self) -> int:
        return self.taken - self.given_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The steps of an actor since the start of the day, the newest SHOWN_MAX of them, and totals of
    all.
    """

    since: datetime
    steps: list[ShiftStep]
    totals: list[ShiftTotal]


async def read_shift(reads: Reader, merchant: UUID, actor: str, *, limit: int) -> Shift:
    """Read the shift of an actor. The totals read the whole day of the merchant: see read_steps."""
    since = await _start_of_day(reads, merchant)
    return Shift(
        since=since,
        steps=await _steps(reads, merchant, actor, since, limit),
        totals=await _totals(reads, merchant, actor, since),
    )


async def read_steps(reads: Reader, merchant: UUID, actor: str, *, limit: int) -> list[ShiftStep]:
    """Read the newest steps of the shift of an actor alone: a page that is opened for each customer
    does not wait for totals.
    """
    return await _steps(reads, merchant, actor, await _start_of_day(reads, merchant), limit)


async def _start_of_day(reads: Reader, merchant: UUID) -> datetime:
    row = await reads.one(_SINCE, merchant)
    assert row is not None
    since: datetime = row["since"]
    return since


async def _steps(
    reads: Reader, merchant: UUID, actor: str, since: datetime, limit: int
) -> list[ShiftStep]:
    rows = await reads.all(_STEPS, merchant, actor, since, limit)
    return [ShiftStep(transaction=transaction_from_row(each), last4=each["last4"]) for each in rows]


async def _totals(reads: Reader, merchant: UUID, actor: str, since: datetime) -> list[ShiftTotal]:
    by_currency: dict[str, dict[str, tuple[int, int]]] = {}
    for each in await reads.all(_TOTALS, merchant, actor, since):
        found = by_currency.setdefault(each["currency"], {})
        found[each["kind"]] = (each["steps"], each["amount"])
    return [
        ShiftTotal(
            currency=currency,
            takings=kinds.get("redeem", (0, 0))[0],
            taken=kinds.get("redeem", (0, 0))[1],
            givings=kinds.get("refund", (0, 0))[0],
            given_back=kinds.get("refund", (0, 0))[1],
        )
        for currency, kinds in by_currency.items()
    ]
