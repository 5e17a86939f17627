"""Settled: whether every event of a merchant was sent to its endpoints once, or tried."""

from datetime import datetime, timedelta
from uuid import UUID

from florin.kit.postgres.database import Database

_LATE = timedelta(minutes=1)  # what is due at an instant is dated after it

_SETTLED = """
select not exists (
  select from florin.webhook_endpoint e
  where e.merchant = $1 and e.state = 'enabled' and (
    exists (select from florin.event v where v.merchant = $1 and v.created_at < $2
      and (v.created_at, v.id) > (e.cursor_at, e.cursor_event)
      and (v.type = any (e.events) or '*' = any (e.events)
        or split_part(v.type, '.', 1) || '.*' = any (e.events)))
    or (e.paused_until is null or e.paused_until <= clock_timestamp()) and exists (
      select from florin.webhook_delivery d
      join florin.event v on v.merchant = d.merchant and v.id = d.event
      where d.merchant = $1 and d.endpoint = e.id and d.state = 'pending' and d.attempts = 0
        and v.created_at < $2)
  )
) as settled
"""


async def webhooks_are_settled(database: Database, merchant: UUID, until: datetime) -> bool:
    """Whether no event of before an instant waits for its first attempt at an endpoint that
    takes messages now.
    """
    row = await database.one(_SETTLED, merchant, until + _LATE)
    assert row is not None
    return bool(row["settled"])
