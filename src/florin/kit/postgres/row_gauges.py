"""Row gauges: metrics that one row of a query has."""

import time
from typing import ClassVar

import asyncpg

from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, Row

CACHED_S = 5.0


class RowGauges:
    """Updates metrics from the row of `query`, at most once in CACHED_S seconds."""

    query: ClassVar[str]

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at = 0.0

    async def refresh(self) -> None:
        """Update the gauges; while the database is unreachable they keep their values."""
        if time.monotonic() < self._at + CACHED_S:
            return
        self._at = time.monotonic()
        try:
            row = await self._database.one(self.query)
        except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
            return
        assert row is not None
        self.show(row)

    def show(self, row: Row) -> None:
        """Set the metrics."""
        raise NotImplementedError
