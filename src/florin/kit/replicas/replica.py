"""Replica: a streaming replica, its lag, and whether it is used for reads.

Two measures: the LSN it has replayed decides which reads it may answer; the age of the heartbeat
row and the bytes behind the primary decide whether it is used at all. The time since its last
transaction is no measure: it grows while the primary is idle. A disconnected replica has replayed
everything it received and looks current; so without a WAL receiver its age is infinite.
"""

import asyncio
import math
import time
from typing import Any

import asyncpg

from florin.kit.observability import logging, metrics
from florin.kit.postgres.pool import BROKEN, Connection, Pool
from florin.kit.postgres.pool_limits import PoolLimits
from florin.kit.replicas.primary import POLL_S, POLL_WITHIN_S, PrimaryMonitor
from florin.kit.replicas.watch_connection import WatchConnection

LAG_MAX_S = 2.0
LAG_MAX_BYTES = 16 * 2**20  # more than a busy primary writes between two polls
BUSY_WAIT_S = 0.5  # for a connection, unless its URL has pool_timeout; other servers can answer
GOOD_IN_A_ROW = 3  # consecutive polls within half the limits before an ejected replica is used

_REPLAYED = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() - '0/0' end"
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
        self._connection = WatchConnection(limits.dsn, name="florin replica watch")

    @property
    def replayed(self) -> int:
        """The LSN it had replayed when last read; it may be further by now."""
        return self._replayed

    def usable(self) -> bool:
        """Whether it is used: its last poll is recent and within the limits."""
        return self._usable and self._age_now() <= LAG_MAX_S

    async def probe(self, connection: Connection) -> int:
        """The LSN it has replayed, read on the given connection; 0 if it is no replica."""
        lsn = await connection.fetchval(_REPLAYED)
        if lsn is None:
            return 0
        self._replayed = max(self._replayed, int(lsn))
        return int(lsn)

    def eject(self, why: str) -> None:
        """Stop using it until polls are within the limits again."""
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
                metrics.replica_standby.labels(self.server).set(1)
                self.eject(type(error).__name__)
            else:
                metrics.replica_standby.labels(self.server).set(row["standby"])
                self._learn(row, primary.lsn)
            metrics.replica_lag_seconds.labels(self.server).set(self._age_now())
            metrics.replica_lag_bytes.labels(self.server).set(self._bytes)
            metrics.replica_usable.labels(self.server).set(self._usable)
            await asyncio.sleep(POLL_S)

    def end(self) -> None:
        self._connection.end()

    async def _poll(self) -> Any:
        return await (await self._connection.get()).fetchrow(_POLL)

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
        # Another server may answer at this address now, so the cached LSN is discarded.
        self._replayed = 0
