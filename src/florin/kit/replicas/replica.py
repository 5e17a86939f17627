"""Replica: one streaming copy of the primary, how fresh it is, and whether it is asked.

How fresh is told by two things. The place in the log it has replayed decides what it may answer;
the age of a heartbeat row and the bytes it lacks decide whether it is asked at all. The time since
its last transaction would say neither: it grows on an idle primary. A replica that is cut off has
replayed all it received and looks perfect; so without a receiver it is infinitely old.
"""

import asyncio
import math
import time
from typing import Any

import asyncpg

from florin.kit.observability import logging, metrics
from florin.kit.postgres.pool import BROKEN, Connection, Pool, open_connection
from florin.kit.postgres.pool_limits import PoolLimits
from florin.kit.replicas.primary import POLL_S, POLL_WITHIN_S, PrimaryMonitor

LAG_MAX_S = 2.0
LAG_MAX_BYTES = 16 * 2**20  # what a busy primary writes between two polls is no lag
BUSY_WAIT_S = 0.5  # for one of its connections, unless its URL says otherwise; others answer, too
GOOD_IN_A_ROW = 3  # polls at half the limits, until a replica that was left is asked again

_LOOK = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() - '0/0' end"
_POLL = """
select pg_is_in_recovery() as standby,
  coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0) as replayed,
  exists (select from pg_stat_wal_receiver where pid is not null) as connected,
  extract(epoch from clock_timestamp() - (select max(at) from florin.heartbeat))::float8 as age
"""
_log = logging.get_logger()


class Replica:
    """One replica; `server` names it in logs and metrics."""

    def __init__(self, url: str, *, name: str, server: str) -> None:
        self.server = server
        limits = PoolLimits(url, timeout_s=BUSY_WAIT_S)
        self.pool = Pool(
            limits, name=name, server=server, on_connect=self._was_connected, reads=True
        )
        self._replayed = 0
        self._age_s = math.inf
        self._bytes = 0
        self._polled = -math.inf
        self._good = 0
        self._usable = False
        self._connection: Connection | None = None

    @property
    def replayed(self) -> int:
        """How far it had replayed when last seen; at least as far now."""
        return self._replayed

    def usable(self) -> bool:
        """Whether it is asked: what is known of it is recent and good."""
        return self._usable and self._age_now() <= LAG_MAX_S

    async def probe(self, connection: Connection) -> int:
        """How far it has replayed, asked on the connection that reads; 0 where it is no replica."""
        lsn = await connection.fetchval(_LOOK)
        if lsn is None:
            return 0
        self._replayed = max(self._replayed, int(lsn))
        return int(lsn)

    def eject(self, why: str) -> None:
        """Stop asking it until polls find it good again."""
        if self._usable:
            _log.warning("replica left", server=self.server, why=why)
        self._usable, self._good, self._replayed = False, 0, 0

    async def watch(self, primary: PrimaryMonitor) -> None:
        """Poll for ever."""
        while True:
            try:
                async with asyncio.timeout(POLL_WITHIN_S):
                    row = await self._poll()
            except (*BROKEN, asyncpg.PostgresError) as error:
                self.end()
                self._age_s, self._polled = math.inf, time.monotonic()
                self.eject(type(error).__name__)
            else:
                self._learn(row, primary.lsn)
            metrics.replica_lag_seconds.labels(self.server).set(self._age_now())
            metrics.replica_lag_bytes.labels(self.server).set(self._bytes)
            metrics.replica_usable.labels(self.server).set(self._usable)
            await asyncio.sleep(POLL_S)

    def end(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _poll(self) -> Any:
        connection = self._connection
        if connection is None:
            connection = await open_connection(self.pool.limits.dsn, name="florin replica watch")
            self._connection = connection
        return await connection.fetchrow(_POLL)

    def _learn(self, row: Any, primary_lsn: int) -> None:
        age = row["age"] if row["standby"] and row["connected"] else None
        self._age_s = math.inf if age is None else max(0.0, age)
        self._polled = time.monotonic()
        self._bytes = max(0, primary_lsn - row["replayed"])
        part = 1.0 if self._usable else 0.5
        if self._age_s > LAG_MAX_S * part or self._bytes > LAG_MAX_BYTES * part:
            self.eject(f"{self._age_s:.1f} s and {self._bytes} bytes behind")
            return
        self._replayed = row["replayed"]
        self._good += 1
        if not self._usable and self._good >= GOOD_IN_A_ROW:
            self._usable = True
            _log.info("replica asked", server=self.server)

    def _age_now(self) -> float:
        return self._age_s + time.monotonic() - self._polled

    async def _was_connected(self, _connection: Connection) -> None:
        # Another server may answer there now: what was known is asked again.
        self._replayed = 0
