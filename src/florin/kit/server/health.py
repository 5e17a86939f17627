"""Health: liveness, readiness and the state of the dependencies of an instance.

Liveness depends on nothing else. Readiness tolerates failures that affect all instances alike,
since an empty balancer would not help: Valkey never makes it fail, the primary only after
PRIMARY_GRACE_S. The probe has its own connection: a busy pool does not mean that the server is
down.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg

from florin.kit.http.drain import Drain
from florin.kit.observability import metrics
from florin.kit.postgres.database import Connection, open_connection

PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 2.0
PRIMARY_GRACE_S = 15.0
FRESH_S = PROBE_EVERY_S + PROBE_TIMEOUT_S  # an older result is not reported


class HealthMonitor:
    """Probes the database and Valkey in the background and reports the last result."""

    def __init__(
        self,
        *,
        drain: Drain,
        dsn: str,
        ping: Callable[[], Awaitable[Any]] | None,
        release: str,
        instance: str,
        first: Callable[[Connection], Awaitable[None]],
        last: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._drain = drain
        self._dsn = dsn
        self._ping = ping
        self._first = first  # a check that must pass, at each probe, for the instance to be ready
        self._last = last  # what to do with the connection at the end
        self._release = release
        self._instance = instance
        self._started = time.monotonic()
        self._database_seen: float | None = None
        self._probed: float | None = None
        self._probed_at = datetime.now(UTC)
        self._probing: asyncio.Task[None] | None = None
        self._database = False
        self._redis = False
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._probe_forever())

    async def stop(self) -> None:
        for task in (self._task, self._probing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._connection is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await self._last(self._connection)
            self._connection.terminate()

    def ready(self) -> int:
        """The status for the balancer: 200, 404 while draining, 503 otherwise."""
        if self._drain.draining:
            return 404
        seen = self._database_seen
        fresh = seen is not None and time.monotonic() - seen < PRIMARY_GRACE_S
        return 200 if fresh else 503

    async def report(self) -> tuple[int, dict[str, Any]]:
        """The document of /health: the result of the last probe, made at `timestamp`."""
        if self._probed is None or time.monotonic() - self._probed > FRESH_S:
            await self._probe()
        checks = {"database": self._database}
        if self._ping is not None:
            checks["redis"] = self._redis
        healthy = all(checks.values())
        return (200 if healthy else 503), {
            "status": "healthy" if healthy else "unhealthy",
            "checks": checks,
            "timestamp": self._probed_at.isoformat().replace("+00:00", "Z"),
            "uptime": round(time.monotonic() - self._started, 3),
            "release": self._release,
            "instance": self._instance,
        }

    async def _probe_forever(self) -> None:
        while True:
            await self._probe()
            await asyncio.sleep(PROBE_EVERY_S)

    async def _probe(self) -> None:
        """Probe, or wait for the probe in progress: its connection runs one query at a time."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._probe_once())
        await asyncio.shield(self._probing)

    async def _probe_once(self) -> None:
        self._database, self._redis = await asyncio.gather(
            _within(self._probe_database()), _within(self._probe_redis())
        )
        if self._database:
            self._database_seen = time.monotonic()
        metrics.dependency_up.labels("database").set(self._database)
        if self._ping is not None:
            metrics.dependency_up.labels("redis").set(self._redis)
        self._probed, self._probed_at = time.monotonic(), datetime.now(UTC)

    async def _probe_database(self) -> None:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await open_connection(self._dsn, name="florin health")
            self._connection = connection
        try:
            await connection.fetchval("select 1 from florin.migration limit 1")
            await self._first(connection)
        except BaseException:
            self._connection = None  # not reused: an unread answer may be pending on it
            connection.terminate()
            raise

    async def _probe_redis(self) -> None:
        if self._ping is not None:
            await self._ping()


async def _within(probe: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    except Exception:  # noqa: BLE001 -- any error of the Valkey client means no answer
        return False
    return True
