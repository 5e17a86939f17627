"""Attention: what of a merchant waits for a person: orders to be reviewed, disputes, messages that
did not arrive, webhooks that fail, cards that expire soon.

Each count reads a bounded number of rows, found by an index. Answers are kept as in
`kept_answers.py`.
"""

from dataclasses import dataclass
from uuid import UUID

from florin.kit.postgres.database import Database
from florin.reports.kept_answers import KeptAnswers

COUNTED_MAX = 1_000  # a count of so many means: so many or more
DELIVERY_DAYS, EXPIRY_DAYS = 7, 30
_DELIVERIES_READ = 5_000

# The time of an id: the first 48 bits of a UUIDv7 are milliseconds (RFC 9562, 5.7).
_COUNTS = f"""
select
  (select count(*) from (select from florin.orders o
    where o.merchant = $1 and o.state = 'review' limit {COUNTED_MAX}) x) as reviews,
  (select count(*) from (select from florin.dispute d
    where d.merchant = $1 and d.state = 'open' limit {COUNTED_MAX}) x) as disputes,
  (select count(*) from (select d.state from florin.delivery d
    where d.merchant = $1 and d.id >= (
      lpad(to_hex(floor(extract(epoch from clock_timestamp() - interval '{DELIVERY_DAYS} days')
        * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
    order by d.id desc limit {_DELIVERIES_READ}) x
    where x.state in ('bounced', 'failed')) as undelivered,
  (select count(*) from (select from florin.webhook_delivery w
    where w.merchant = $1 and w.state = 'pending' and w.attempts > 0 limit {COUNTED_MAX}) x)
    as webhooks,
  e.cards as expiring, e.owed as expiring_owed
from florin.merchant m
cross join lateral (
  select count(*) as cards, coalesce(sum(x.balance), 0)::bigint as owed from (
    select a.balance from florin.account a
    where a.merchant = m.id and a.state in ('active', 'blocked') and a.currency = $2
      and a.expires_at > clock(m.id)
      and a.expires_at <= clock(m.id) + interval '{EXPIRY_DAYS} days' and a.balance > 0
    limit {COUNTED_MAX}) x
) e
where m.id = $1
"""  # noqa: S608 -- only numbers of this module


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How much waits, each count at most COUNTED_MAX; `expiring_owed`: on the cards that expire
    within EXPIRY_DAYS, in minor units. `undelivered`: among the latest messages of DELIVERY_DAYS.
    """

    reviews: int
    disputes: int
    undelivered: int
    webhooks: int
    expiring: int
    expiring_owed: int


class AttentionReports:
    """Counts on the connections of reports."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept = KeptAnswers(self._read)

    async def of(self, merchant: UUID, currency: str) -> Attention:
        return await self._kept.find(merchant, currency)

    async def _read(self, merchant: UUID, currency: str) -> Attention:
        row = await self._database.one(_COUNTS, merchant, currency)
        assert row is not None
        return Attention(**{name: row[name] for name in Attention.__slots__})
