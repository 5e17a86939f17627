"""Throttle: limit the pace of a long job: full speed while it runs alone, slow while requests wait.

A commit flushes the whole transaction to the write-ahead log, and every other commit waits for the
flush. While requests that move money arrive, a job therefore commits small transactions and pauses
between them. The ledger counts those requests.
"""

import asyncio

from florin.kit.postgres.database import Database

MOST = 1000  # cards in a transaction, without requests
LEAST = 50  # … with requests
_PAUSE_ALONE = 0.1  # pause after a transaction, as a share of its duration, without requests
_PAUSE_BUSY = 4.0  # … with requests, for each job of the queue that runs now
_LOOK = """
select s.last_value as asked,
  (select count(*) from florin.queue_job j where j.queue = $1 and j.state = 1) as jobs
from florin.posting_counter s
"""


class JobThrottle:
    """The pace of one job. `size`: the number of cards for its next transaction."""

    def __init__(self, database: Database, queue: str) -> None:
        self.size = LEAST
        self._database = database
        self._queue = queue
        self._requests: int | None = None

    async def begin(self) -> None:
        """Analyze tables that have grown, so that all sessions plan for their new size."""
        await self._database.one("select analyze_grown()")

    async def rest_after(self, took_s: float) -> None:
        """Pause after a transaction that took `took_s` seconds."""
        await asyncio.sleep(await self.pause_s(took_s))

    async def pause_s(self, took_s: float) -> float:
        row = await self._database.one(_LOOK, self._queue)
        assert row is not None  # a sequence has a row
        busy = row["asked"] != self._requests
        self._requests = row["asked"]
        self.size = min(LEAST if busy else 2 * self.size, MOST)
        return took_s * (_PAUSE_BUSY * max(row["jobs"], 1) if busy else _PAUSE_ALONE)
