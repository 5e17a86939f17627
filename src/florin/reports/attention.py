"""Attention: what of a merchant waits for a person: orders to be reviewed, money to be returned,
disputes, messages that did not arrive, webhooks that fail, cards that expire soon.

Each count reads a bounded number of rows, found by an index, also if none of them counts. Answers
are kept as in `kept_answers.py`.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from florin.kit.errors import Overloaded
from florin.kit.postgres.database import Database, PoolTimeout, StatementTimeout
from florin.payments.payment import DISPUTED
from florin.reports.kept_answers import KeptAnswers

COUNTED_MAX = 1_000  # a count of so many means: so many or more
DELIVERY_DAYS, EXPIRY_DAYS = 7, 30
_WITHIN_S = 5.0
_DELIVERIES_READ, _DISPUTES_READ, _CARDS_READ = 5_000, 5_000, 5_000

# What a webhook endpoint is sent again has a later time than what it was never sent, and is read
# first. The time of an id: the first 48 bits of a UUIDv7 are milliseconds (RFC 9562, 5.7).
_COUNTS = f"""
select
  (select count(*) from (select from florin.orders o
    where o.merchant = $1 and o.state = 'review' limit {COUNTED_MAX}) x) as reviews,
  (select count(*) from (select p.state, p.received > p.refunded as left_over,
      {DISPUTED} as disputed
    from florin.payment p where p.merchant = $1 and p.surplus
    order by p.id desc limit {COUNTED_MAX}) x
    where x.state = 'paid' and x.left_over and not x.disputed) as surplus,
  (select least(count(*), {COUNTED_MAX}) from (select d.state from florin.dispute d
    where d.merchant = $1 order by d.id desc limit {_DISPUTES_READ}) x
    where x.state = 'open') as disputes,
  (select count(*) from (select d.state from florin.delivery d
    where d.merchant = $1 and d.id >= (
      lpad(to_hex(floor(extract(epoch from clock_timestamp() - interval '{DELIVERY_DAYS} days')
        * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
    order by d.id desc limit {_DELIVERIES_READ}) x
    where x.state in ('bounced', 'failed')) as undelivered,
  (select least(count(*), {COUNTED_MAX}) from florin.webhook_endpoint p
    cross join lateral (select w.attempts from florin.webhook_delivery w
      where w.merchant = $1 and w.endpoint = p.id and w.state = 'pending'
      order by w.next_at desc, w.position desc limit {COUNTED_MAX}) x
    where p.merchant = $1 and x.attempts > 0) as webhooks,
  e.cards as expiring, e.owed as expiring_owed, e.more as expiring_more
from florin.merchant m
cross join lateral (
  select count(*) filter (where x.balance > 0 and x.currency = $2) as cards,
    coalesce(sum(x.balance) filter (where x.currency = $2), 0)::bigint as owed,
    count(*) = {_CARDS_READ} as more
  from (
    select a.balance, a.currency from florin.account a
    where a.merchant = $1 and a.state in ('active', 'blocked')
      and a.expires_at > (select clock($1))
      and a.expires_at <= (select clock($1)) + interval '{EXPIRY_DAYS} days'
    order by a.expires_at limit {_CARDS_READ}) x
) e
where m.id = $1
"""  # noqa: S608 -- only numbers of this module


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How much waits; COUNTED_MAX means: so many or more. `surplus`: payments for
    orders that need none, among the latest of them, that were not returned. `undelivered`: among
    the latest messages of DELIVERY_DAYS. `expiring`: cards with a balance among the next that
    expire within EXPIRY_DAYS, `expiring_owed` on them in minor units; `expiring_more`: later were
    not read.
    """

    reviews: int
    surplus: int
    disputes: int
    undelivered: int
    webhooks: int
    expiring: int
    expiring_owed: int
    expiring_more: bool


class AttentionReports:
    """Counts on the connections of reports."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept = KeptAnswers(self._read)

    async def of(self, merchant: UUID, currency: str) -> Attention | None:
        """None if it cannot be read in time: a page shows its other figures without it."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self._kept.find(merchant, currency)
        except (TimeoutError, StatementTimeout, PoolTimeout, Overloaded):
            return None

    async def _read(self, merchant: UUID, currency: str) -> Attention:
        row = await self._database.one(_COUNTS, merchant, currency)
        assert row is not None
        return Attention(**{name: row[name] for name in Attention.__slots__})
