"""Throttle: how much a long job does at a time: all it can while it is alone, little beside others.

What it commits in one transaction is flushed to the log in one go, and whoever commits meanwhile
waits for that; so a request for money finds small transactions, and few of them. Whether there are
such requests, the ledger counts.
"""

import asyncio

from florin.kit.postgres.database import Database

MOST = 1000  # cards in a transaction, alone
LEAST = 50  # … beside money
_ALONE = 0.1  # of the time a transaction took, until the next one
_BESIDE = 4.0  # … beside money, for each job that does the same now
_LOOK = """
select s.last_value as asked,
  (select count(*) from florin.queue_job j where j.queue = $1 and j.state = 1) as jobs
from florin.posting_counter s
"""


class JobThrottle:
    """The pace of one job. `size`: how many cards it may have in its next transaction."""

    def __init__(self, database: Database, queue: str) -> None:
        self.size = LEAST
        self._database = database
        self._queue = queue
        self._asked: int | None = None

    async def begin(self) -> None:
        """At the beginning of a slice: let the plans of all sessions know what there is by now."""
        await self._database.one("select florin.analyze_grown()")

    async def rest_after(self, took_s: float) -> None:
        """Wait for as long as becomes somebody whose transaction took `took_s`."""
        await asyncio.sleep(await self.pause_s(took_s))

    async def pause_s(self, took_s: float) -> float:
        row = await self._database.one(_LOOK, self._queue)
        assert row is not None  # a sequence has a row
        beside = row["asked"] != self._asked
        self._asked = row["asked"]
        self.size = min(LEAST if beside else 2 * self.size, MOST)
        return took_s * (_BESIDE * max(row["jobs"], 1) if beside else _ALONE)
