"""Gauges: metrics of webhooks that the database knows."""

import time

import asyncpg

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout

CACHED_S = 5.0

# How long the oldest due delivery waits, of endpoints whose last attempt did not fail: those of
# others wait for their receiver.
_READ = """
select count(*) filter (where e.state = 'enabled' and e.failing_since is null) as enabled,
  count(*) filter (where e.state = 'enabled' and e.failing_since is not null) as failing,
  count(*) filter (where e.state = 'disabled') as disabled,
  coalesce(extract(epoch from clock_timestamp() - min(d.next_at)), 0)::float8 as oldest_s
from florin.webhook_endpoint e left join lateral (
  select z.next_at from florin.webhook_delivery z
  where e.state = 'enabled' and e.failing_since is null and z.merchant = e.merchant
    and z.endpoint = e.id and z.state = 'pending' and z.next_at <= clock_timestamp()
  order by z.next_at limit 1
) d on true
"""


class WebhookGauges:
    """Updates the metrics of webhooks, at most once in CACHED_S seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at = 0.0

    async def refresh(self) -> None:
        """Update the gauges; while the database is unreachable they keep their values."""
        if time.monotonic() < self._at + CACHED_S:
            return
        self._at = time.monotonic()
        try:
            row = await self._database.one(_READ)
        except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
            return
        assert row is not None
        for state in metrics.WEBHOOK_ENDPOINT_STATES:
            metrics.webhook_endpoints.labels(state).set(row[state])
        metrics.webhook_oldest_seconds.set(row["oldest_s"])
