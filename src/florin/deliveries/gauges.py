"""Gauges: metrics of deliveries that the database knows."""

import time

import asyncpg

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout

CACHED_S = 5.0

# Test merchants are left out: their clocks move, so the age of what they are owed has no meaning.
_READ = """
select count(*) as due,
  coalesce(extract(epoch from clock_timestamp() - min(d.due_at)), 0)::float8 as oldest_s
from florin.delivery d join florin.merchant m on m.id = d.merchant
where d.state in ('due', 'sending') and not m.test
"""


class DeliveryGauges:
    """Updates the metrics of deliveries, at most once in CACHED_S seconds."""

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
        metrics.deliveries_due.set(row["due"])
        metrics.deliveries_oldest_seconds.set(max(0.0, row["oldest_s"]))
