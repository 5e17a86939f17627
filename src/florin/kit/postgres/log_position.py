"""Log position: how far the log is now, for answers that wrote nothing and still say so.

Asked once for all who wait for it, so that refusals cost next to nothing however many there are.
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
    """Asks the primary."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # One call at a time: whoever asks while it runs is answered by the next, which is later
        # than all that he has seen.
        self._calls: Batcher[None, str] = Batcher(self._ask, batch_max=5_000, in_flight_max=1)

    async def now(self) -> str | None:
        """None where the primary does not say in time."""
        with suppress(TimeoutError, Overloaded, PoolTimeout, asyncpg.PostgresError, *BROKEN):
            async with asyncio.timeout(WITHIN_S):
                return await self._calls.submit(None)
        return None

    async def _ask(self, waiting: list[None]) -> Sequence[str]:
        return [await self._database.position()] * len(waiting)
