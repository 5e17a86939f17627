"""Gauges: money at gateways that is not explained, as the database knows it."""

import time

import asyncpg

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout

CACHED_S = 5.0

# As the report of gateways has it, of all merchants that take real money.
_READ = """
select count(*) as payments,
  coalesce(extract(epoch from clock_timestamp() - min(p.paid_at)), 0)::float8 as oldest_s
from florin.orders o join florin.merchant m on m.id = o.merchant and not m.test
join florin.payment p on p.merchant = o.merchant and p.orders = o.id
where o.state = 'review' and p.state = 'paid' and p.received > p.refunded
"""


class PaymentGauges:
    """Updates the metrics of payments, at most once in CACHED_S seconds."""

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
        metrics.unexplained_payments.set(row["payments"])
        metrics.unexplained_oldest_seconds.set(row["oldest_s"])
