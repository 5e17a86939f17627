"""Primary: monitors the primary's log position, writes the heartbeat, and detects lost writes.

A caller gets the log position after its write. If the primary's log no longer reaches it, a server
was promoted that had not received the write: an acknowledged write may be lost. It is not certain,
since a position also covers concurrent writes of others.
"""

import asyncio
import math
import time
from typing import Any

import asyncpg

from florin.kit.observability import logging, metrics
from florin.kit.postgres.pool import BROKEN
from florin.kit.replicas.watch_connection import WatchConnection

POLL_S = 0.2
POLL_WITHIN_S = 1.0  # a server that takes longer counts as unresponsive
HEARTBEAT_S = 0.5
ANY = 2**31  # a timeline that is unknown

_POLL = """
select (pg_current_wal_insert_lsn() - '0/0')::bigint as lsn,
  ('x' || substring(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as timeline,
  coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0) as began
"""
_BEAT = """
update florin.heartbeat set at = clock_timestamp()
where at < clock_timestamp() - make_interval(secs => $1)
"""
_log = logging.get_logger()


class PrimaryMonitor:
    """Polls the primary."""

    def __init__(self, dsn: str) -> None:
        self.lsn = 0
        self.timeline = 0
        # The heartbeat must not wait for synchronous replicas: it measures their lag.
        settings = "set synchronous_commit = off"
        self._connection = WatchConnection(dsn, name="florin primary watch", settings=settings)
        self._heartbeat_at = -math.inf
        self._promised: dict[tuple[str, int], int] = {}
        self._reported: set[tuple[str, int]] = set()

    def record_acknowledged(self, reported_by: str, lsn: int, *, timeline: int = ANY) -> None:
        """Record that a caller got the position `lsn`."""
        known = self._promised.get((reported_by, timeline), 0)
        self._promised[reported_by, timeline] = max(known, lsn)

    async def watch(self) -> None:
        """Poll for ever."""
        while True:
            promised = dict(self._promised)  # copied first: later ones may exceed the poll's result
            try:
                async with asyncio.timeout(POLL_WITHIN_S):
                    row = await self._poll()
            except (*BROKEN, asyncpg.PostgresError):
                self.end()
            else:
                self.lsn, self.timeline = row["lsn"], row["timeline"]
                for (reported_by, timeline), lsn in promised.items():
                    self.check(reported_by, timeline, lsn, row["began"])
            await asyncio.sleep(POLL_S)

    def end(self) -> None:
        self._connection.end()

    async def _poll(self) -> Any:
        connection = await self._connection.get()
        if time.monotonic() - self._heartbeat_at >= HEARTBEAT_S:
            await connection.execute(_BEAT, HEARTBEAT_S * 0.8)
            self._heartbeat_at = time.monotonic()
        return await connection.fetchrow(_POLL)

    def check(self, reported_by: str, timeline: int, lsn: int, began: int) -> None:
        """Report a lost write. An LSN of an earlier timeline must precede this one's start."""
        earlier = timeline < self.timeline
        missing = lsn > self.lsn or (earlier and began and lsn > began)
        if missing or earlier:
            self._promised.pop((reported_by, timeline), None)
        if not missing:
            return
        metrics.writes_maybe_lost.labels(reported_by).inc()
        if (reported_by, self.timeline) not in self._reported:
            self._reported.add((reported_by, self.timeline))
            _log.error(
                "an acknowledged write may be lost",
                reported_by=reported_by,
                promised=f"{timeline:x}.{lsn:x}",
                primary=f"{self.timeline:x}.{self.lsn:x}",
                timeline_began=f"{began:x}",
            )
