"""Stats: the state of the queues and the workers."""

import time
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import BROKEN, Connection, Database, PoolTimeout

CACHED_S = 1.0
SILENT_S = 30.0  # a worker without a heartbeat for so long counts as lost

_QUEUES = """
select f.*, q.max_running, q.max_running_per_worker
from queue_facts() f join florin.queue q on q.name = f.name order by f.importance, f.name
"""
_WORKERS = """
select id::text, name, release, concurrency, busy, stopping, started_at, heartbeat_at,
  heartbeat_at < clock_timestamp() - make_interval(secs => $1) as silent
from florin.queue_worker order by name, started_at
"""
_SERVER = """
select count(*) filter (where datid is not null and usesysid is not null)::float8 as connections,
  current_setting('max_connections')::float8
    - current_setting('superuser_reserved_connections')::float8
    - coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::float8 as most,
  (select count(*) from pg_locks where not granted)::float8 as waiters,
  coalesce(extract(epoch from clock_timestamp() - min(xact_start)
    filter (where state like 'idle in transaction%')), 0)::float8 as idle_s,
  (select max(age(datfrozenxid)) from pg_database)::float8 as xid_age,
  pg_database_size(current_database())::float8 as size
from pg_stat_activity
"""
_OUTBOX = """
select count(*), coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8
from florin.outbox
"""


class QueueFacts(msgspec.Struct, kw_only=True):
    """One queue. Ages and durations in seconds, rates per second.

    `waiting` jobs are due now, `delayed` ones later, `active` ones run, `dead` ones have no
    attempts left; `completed`, `failed` (attempts) and `died` count since the queue's creation.
    Rates are those of the last ten or thirty seconds; `service_s` is the mean run time of the last
    five minutes; `failing` is the share of failed attempts in the last minute. At most
    `max_running` jobs run at once in the fleet, `max_running_per_worker` in each worker; None: no
    limit.
    """

    name: str
    importance: int
    paused: bool
    objective_s: float | None
    max_running: int | None
    max_running_per_worker: int | None
    waiting: int
    delayed: int
    active: int
    dead: int
    oldest_s: float
    arrived: int
    completed: int
    failed: int
    died: int
    arrivals_10s: float
    arrivals_30s: float
    completions_30s: float
    service_s: float | None
    failing: float


class WorkerFacts(msgspec.Struct, kw_only=True):
    """One worker by its last heartbeat; `silent` if that is older than SILENT_S."""

    id: str
    name: str
    release: str
    concurrency: int
    busy: int
    stopping: bool
    started_at: datetime
    heartbeat_at: datetime
    silent: bool


async def read_queues(connection: Connection) -> list[QueueFacts]:
    rows = await connection.fetch(_QUEUES)
    return [msgspec.convert(dict(row), QueueFacts) for row in rows]


async def read_workers(connection: Connection) -> list[WorkerFacts]:
    rows = await connection.fetch(_WORKERS, SILENT_S)
    return [msgspec.convert(dict(row), WorkerFacts) for row in rows]


class QueueGauges:
    """Updates the metrics of the queues and of the primary, at most once per second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at = 0.0

    async def refresh(self) -> None:
        """Update the gauges; while the database is unreachable they keep their values."""
        if time.monotonic() < self._at + CACHED_S:
            return
        self._at = time.monotonic()
        try:
            async with self._database.connection() as connection:
                facts = await read_queues(connection)
                workers = await read_workers(connection)
                outbox = await connection.fetchrow(_OUTBOX)
                server = await connection.fetchrow(_SERVER)
        except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
            return
        _set_queues(facts)
        _set_server(server)
        silent = sum(each.silent for each in workers)
        stopping = sum(each.stopping and not each.silent for each in workers)
        metrics.queue_workers.labels("silent").set(silent)
        metrics.queue_workers.labels("stopping").set(stopping)
        metrics.queue_workers.labels("live").set(len(workers) - silent - stopping)
        metrics.outbox_waiting.set(outbox[0])
        metrics.outbox_oldest_seconds.set(outbox[1])


def _set_queues(facts: list[QueueFacts]) -> None:
    for queue in facts:
        for state in metrics.JOB_STATES:
            metrics.queue_length.labels(queue.name, state).set(getattr(queue, state))
        metrics.queue_oldest_seconds.labels(queue.name).set(queue.oldest_s)
        if queue.objective_s is not None:
            metrics.queue_objective_seconds.labels(queue.name).set(queue.objective_s)
    metrics.queue_events.set_all(
        {
            (queue.name, event): getattr(queue, event)
            for queue in facts
            for event in metrics.JOB_EVENTS
        }
    )


def _set_server(row: Any) -> None:
    metrics.database_connections.set(row["connections"])
    metrics.database_connections_limit.set(row["most"])
    metrics.database_lock_waiters.set(row["waiters"])
    metrics.database_idle_transaction_seconds.set(row["idle_s"])
    metrics.database_xid_age.set(row["xid_age"])
    metrics.database_size.set(row["size"])
