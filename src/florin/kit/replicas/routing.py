"""Routing: sends reads to replicas, never older than what the caller has seen.

A function with a `Reader` parameter may read from a replica; one with a `Database` parameter reads
from the primary. No function that decides about money, keys or access takes a Reader.

A replica answers if it has replayed the positions seen by the caller (by credentials), by any
caller of the requested objects, and in the Florin-Consistency header; otherwise the primary does.
The position of a read is recorded like that of a write, so that a caller never goes back in time.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from florin.kit.observability import metrics
from florin.kit.postgres.database import (
    BROKEN,
    REPEAT_FOR_S,
    Database,
    PoolTimeout,
    Row,
    StatementTimeout,
    parse_position,
    position_lsn,
)
from florin.kit.postgres.database import read_position as position_of
from florin.kit.replicas.consistency_tokens import ConsistencyTokens
from florin.kit.replicas.primary import POLL_S, PrimaryMonitor
from florin.kit.replicas.replica import LAG_MAX_S, Replica

_PAUSE_S = 0.05
# For a read from a replica. A responsive replica has ended a slow statement by then
# (READ_STATEMENT_S); if it is unresponsive, the primary answers.
READ_WITHIN_S = 5.0
_CONFLICT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)  # with WAL replay
_RETRIED = (*BROKEN, *_CONFLICT, PoolTimeout)


class ReplicaRouter:
    """The primary, its replicas, and the positions of callers. No overhead without replicas."""

    def __init__(
        self, database: Database, replicas: Sequence[Replica], tokens: ConsistencyTokens | None
    ) -> None:
        self.database = database
        self.replicas = replicas
        self.tokens = tokens if replicas else None
        self.reading = database.for_reads()  # keeps reads off the connections of postings
        self.primary = PrimaryMonitor(database.limits.dsn)
        self._watches: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.reading.open()
        if self.tokens is None:
            return
        for replica in self.replicas:
            await replica.pool.open()
        watches = [self.primary.watch(), *(each.watch(self.primary) for each in self.replicas)]
        self._watches = [asyncio.ensure_future(watch) for watch in watches]

    async def close(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        self.primary.end()
        for replica in self.replicas:
            replica.end()
            if self.tokens is not None:
                await replica.pool.close()
        await self.reading.close()

    def reader(
        self, principal: str, *, given: str | None = None, ours: bool = False
    ) -> "RoutedReader":
        """The reader of one request; `given` is the position in its Florin-Consistency header,
        `ours` whether its signature is valid. Raises ValueError.
        """
        if given is None:
            return RoutedReader(self, principal, 0)
        timeline, lsn = parse_position(given)
        if ours:  # an unsigned position is not recorded and raises no alert
            self.primary.record_acknowledged("a caller", lsn, timeline=timeline)
        return RoutedReader(self, principal, lsn)

    async def record_write(self, names: Sequence[str], position: str) -> None:
        """Record that `names` saw a position, before the write is acknowledged."""
        if self.tokens is None:
            return
        timeline, lsn = parse_position(position)
        self.primary.record_acknowledged("us", lsn, timeline=timeline)
        await self.record_position(names, lsn)

    async def record_position(self, names: Sequence[str], lsn: int) -> None:
        """Store it for all instances; if that fails, wait until all replicas have replayed it."""
        assert self.tokens is not None
        if not await self.tokens.record(names, lsn):
            await self._replayed_everywhere(lsn)

    async def _replayed_everywhere(self, lsn: int) -> None:
        """Wait until every usable replica has replayed `lsn`: then no instance needs its position.

        The wait is bounded: a lagging replica is ejected by every instance.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAG_MAX_S + 2 * POLL_S):
                for replica in self.replicas:
                    while replica.usable() and replica.replayed < lsn:
                        with suppress(*_RETRIED):
                            async with replica.pool.connection() as connection:
                                await replica.probe(connection)
                        await asyncio.sleep(0.005)

    def is_fresh(self, lsn: int) -> list[Replica]:
        """The usable replicas, those known to have replayed `lsn` first."""
        usable = [replica for replica in self.replicas if replica.usable()]
        random.shuffle(usable)
        usable.sort(key=lambda replica: replica.replayed < lsn)
        return usable


class RoutedReader:
    """The reads of one request."""

    def __init__(self, routing: ReplicaRouter, principal: str, given: int) -> None:
        self._routing = routing
        self._names = [principal]
        self._given = given
        self._needed: int | None = None
        self._over: Database | None = None

    def over(self, database: Database) -> "RoutedReader":
        """Use this database instead of the primary's pool for reads, when no replica answers."""
        self._over = database
        return self

    def covering(self, *objects: str | None) -> "RoutedReader":
        """Name the requested objects: reads include every caller's writes to them."""
        self._names.extend(each for each in objects if each is not None)
        return self

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        rows = await self._by_replica("fetch", sql, args)
        return await self._by_primary("fetch", sql, args) if rows is None else rows[0]

    async def one(self, sql: str, *args: object) -> Row | None:
        """A row; if a replica does not have it, the primary is read: it may be new."""
        row = await self._by_replica("fetchrow", sql, args)
        if row is None or row[0] is None:
            return await self._by_primary("fetchrow", sql, args)
        return row[0]

    def require_position(self, position: str) -> "RoutedReader":
        """Further reads must include everything up to a position."""
        self._given = max(self._given, position_lsn(position))
        if self._needed is not None:
            self._needed = max(self._needed, self._given)
        return self

    async def _by_replica(self, how: str, sql: str, args: Sequence[object]) -> tuple[Any] | None:
        """Read from a replica; None if none may answer. The result is wrapped in a tuple."""
        tokens = self._routing.tokens
        if tokens is None:
            return None
        if self._needed is None:
            needed = await tokens.required_positions(self._names)
            if needed is None:
                metrics.replica_reads.labels("primary", "unknown").inc()
                return None
            self._routing.primary.record_acknowledged("the store", needed)
            self._needed = max(needed, self._given)
        for replica in self._routing.is_fresh(self._needed):
            outcome, result, seen = await self._ask(replica, self._needed, how, sql, args)
            metrics.replica_reads.labels(replica.server, outcome).inc()
            if outcome == "fresh":
                await self._record_seen(seen)
                return (result,)
            if outcome == "slow":
                break
        metrics.replica_reads.labels("primary", "no replica").inc()
        return None

    async def _ask(
        self, replica: Replica, needed: int, how: str, sql: str, args: Sequence[object]
    ) -> tuple[str, Any, int]:
        """The outcome ("fresh", or the reason for no result), the result, and the replica's LSN."""
        try:
            # The timeout is inside the connection's context, so that it is terminated, not
            # cancelled and waited for.
            async with replica.pool.connection() as connection, asyncio.timeout(READ_WITHIN_S):
                if replica.replayed < needed and await replica.probe(connection) < needed:
                    return "behind", None, 0
                result = await getattr(connection, how)(sql, *args)
                seen = await replica.probe(connection)
        except _CONFLICT:
            return "conflict", None, 0
        except PoolTimeout:
            return "busy", None, 0
        except StatementTimeout:
            # Not retried at another server, where it would take as long. Exception: a report, which
            # has a longer timeout at its own database.
            if self._over is None:
                metrics.replica_reads.labels(replica.server, "slow").inc()
                raise
            return "slow", None, 0
        except BROKEN as error:
            replica.eject(type(error).__name__)
            return "failed", None, 0
        # A lower LSN than before: it was promoted, or another server answers at its address.
        return ("behind" if seen < needed else "fresh"), result, seen

    async def _by_primary(self, how: str, sql: str, args: Sequence[object]) -> Any:
        """Read from the primary; retry after a broken connection: a failover may be in progress."""
        give_up = time.monotonic() + REPEAT_FOR_S
        while True:
            try:
                return await self._by_primary_once(how, sql, args)
            except BROKEN:
                if time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _by_primary_once(self, how: str, sql: str, args: Sequence[object]) -> Any:
        database = self._over or self._routing.reading
        if self._routing.tokens is None:
            async with database.connection() as connection:
                return await getattr(connection, how)(sql, *args)
        async with database.connection() as connection:
            result = await getattr(connection, how)(sql, *args)
            seen = position_lsn(await position_of(connection))
        await self._record_seen(seen)
        return result

    async def _record_seen(self, seen: int) -> None:
        """Record the position that the caller has now seen: later reads are not older."""
        if self._needed is None or seen > self._needed:
            self._needed = None if self._needed is None else seen
            await self._routing.record_position(self._names[:1], seen)
