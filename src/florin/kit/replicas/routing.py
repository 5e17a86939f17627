"""Routing: what a replica may answer, never older than what its caller has seen.

A function that takes a `Reader` says so that its statements may go to a replica; whatever takes the
Database asks the primary. Nothing that decides about money, keys or access takes a Reader.

A replica answers where it has replayed at least as much as the caller (by credentials), anybody at
the objects asked about, and the Florin-Consistency header have seen; else the primary does. What
was seen by a read is noted as what was written is, so that a caller never goes back in time.
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
# By a replica. One that lives has ended a slow statement by then (READ_STATEMENT_S); in place of
# one that does not the primary is asked.
READ_WITHIN_S = 5.0
_CONFLICT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)  # with the replay
_RETRIED = (*BROKEN, *_CONFLICT, PoolTimeout)


class ReplicaRouter:
    """The primary, its replicas, and what callers have seen. Without replicas it costs nothing."""

    def __init__(
        self, database: Database, replicas: Sequence[Replica], tokens: ConsistencyTokens | None
    ) -> None:
        self.database = database
        self.replicas = replicas
        self.tokens = tokens if replicas else None
        self.reading = database.for_reads()  # of the primary, what money's connections need not do
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
        """The reads of one request; `given` is the position that its Florin-Consistency names,
        `ours` whether we signed it. Raises ValueError.
        """
        if given is None:
            return RoutedReader(self, principal, 0)
        timeline, lsn = parse_position(given)
        if ours:  # what is invented is not remembered, and raises no alarm
            self.primary.record_acknowledged("a caller", lsn, timeline=timeline)
        return RoutedReader(self, principal, lsn)

    async def record_write(self, names: Sequence[str], position: str) -> None:
        """Note that these saw the log up to a position, before anybody hears of the write."""
        if self.tokens is None:
            return
        timeline, lsn = parse_position(position)
        self.primary.record_acknowledged("us", lsn, timeline=timeline)
        await self.record_position(names, lsn)

    async def record_position(self, names: Sequence[str], lsn: int) -> None:
        """Keep it for all instances; where that fails, see to it that none needs to know."""
        assert self.tokens is not None
        if not await self.tokens.record(names, lsn):
            await self._replayed_everywhere(lsn)

    async def _replayed_everywhere(self, lsn: int) -> None:
        """Wait until no replica that is asked lacks this: then nobody needs to know of it.

        That ends: a replica that lags is not asked any more, by any instance.
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
        """The replicas that may be asked, those that are known to be far enough first."""
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
        """Have these connections answer what no replica may: those of the money are spared."""
        self._over = database
        return self

    def covering(self, *objects: str | None) -> "RoutedReader":
        """Name the objects asked about: whoever wrote to them, it is seen."""
        self._names.extend(each for each in objects if each is not None)
        return self

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        rows = await self._by_replica("fetch", sql, args)
        return await self._by_primary("fetch", sql, args) if rows is None else rows[0]

    async def one(self, sql: str, *args: object) -> Row | None:
        """A row that a replica does not have is asked of the primary: it may be new."""
        found = await self._by_replica("fetchrow", sql, args)
        if found is None or found[0] is None:
            return await self._by_primary("fetchrow", sql, args)
        return found[0]

    def require_position(self, position: str) -> "RoutedReader":
        """What is read must hold all up to a position."""
        self._given = max(self._given, position_lsn(position))
        if self._needed is not None:
            self._needed = max(self._needed, self._given)
        return self

    async def _by_replica(self, how: str, sql: str, args: Sequence[object]) -> tuple[Any] | None:
        """Ask a replica; None when none may answer."""
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
            why, found, seen = await self._ask(replica, self._needed, how, sql, args)
            metrics.replica_reads.labels(replica.server, why).inc()
            if why == "fresh":
                await self._note(seen)
                return (found,)
            if why == "slow":
                break
        metrics.replica_reads.labels("primary", "no replica").inc()
        return None

    async def _ask(
        self, replica: Replica, needed: int, how: str, sql: str, args: Sequence[object]
    ) -> tuple[str, Any, int]:
        """What came of it (fresh, or why not), the answer, and how far the replica was by then."""
        try:
            # The time is up inside of the borrowed connection, so that it is ended, not cancelled
            # and waited for.
            async with replica.pool.connection() as connection, asyncio.timeout(READ_WITHIN_S):
                if replica.replayed < needed and await replica.probe(connection) < needed:
                    return "behind", None, 0
                found = await getattr(connection, how)(sql, *args)
                seen = await replica.probe(connection)
        except _CONFLICT:
            return "conflict", None, 0
        except PoolTimeout:
            return "busy", None, 0
        except StatementTimeout:
            # Not asked of another server: it would take as long there. What has more time than a
            # replica gives, a report, is.
            if self._over is None:
                metrics.replica_reads.labels(replica.server, "slow").inc()
                raise
            return "slow", None, 0
        except BROKEN as error:
            replica.eject(type(error).__name__)
            return "failed", None, 0
        # Not as far as it was: it was promoted, or another server answers there by now.
        return ("behind" if seen < needed else "fresh"), found, seen

    async def _by_primary(self, how: str, sql: str, args: Sequence[object]) -> Any:
        """Ask the primary, again where the connection broke: another one may be it by then."""
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
            found = await getattr(connection, how)(sql, *args)
            seen = position_lsn(await position_of(connection))
        await self._note(seen)
        return found

    async def _note(self, seen: int) -> None:
        """Remember what the caller has seen now: what it sees next is not older."""
        if self._needed is None or seen > self._needed:
            self._needed = None if self._needed is None else seen
            await self._routing.record_position(self._names[:1], seen)
