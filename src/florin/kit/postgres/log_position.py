"""Log position: the current position of the log, for responses to writes that changed nothing.

One query answers all concurrent callers, so that many refusals cost little.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import asyncpg

from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout

WITHIN_S = 5.0


class PositionReader:
    """Reads the primary's position."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # One call at a time: a caller that arrives while it runs gets the result of the next,
        # which is later than everything the caller has seen.
        self._calls: Batcher[None, str] = Batcher(self._query, batch_max=5_000, in_flight_max=1)

    async def now(self) -> str | None:
        """The position; None if the primary does not answer within WITHIN_S."""
        with suppress(TimeoutError, Overloaded, PoolTimeout, asyncpg.PostgresError, *BROKEN):
            async with asyncio.timeout(WITHIN_S):
                return await self._calls.submit(None)
        return None

    async def _query(self, waiting: list[None]) -> Sequence[str]:
        return [await self._database.position()] * len(waiting)
