"""Admin: an operator's actions on queues and dead jobs; each is recorded in the queue's audit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from florin.kit.postgres.database import Connection

LISTED = 200

_DEAD = """
select id, queue, kind, attempts, crashes, error, payload, created_at, due_at, trace
from florin.queue_job where state = 2 order by id desc limit $1
"""
_AUDIT = """
insert into florin.queue_audit (actor, verb, subject, detail) values ($1, $2, $3, $4::text::jsonb)
"""
_RETRY = """
update florin.queue_job set state = 0, attempts = 0, crashes = 0, due_at = clock_timestamp()
where id = $1 and state = 2 returning queue, kind, error
"""
_DISCARD = """
delete from florin.queue_job where id = $1 and state = 2
returning queue, kind, error, payload::text as payload, created_at, trace
"""


class DeadJob(msgspec.Struct, kw_only=True):
    """A job without attempts left, and the error of its last attempt."""

    id: int
    queue: str
    kind: str
    attempts: int
    crashes: int
    error: str | None
    payload: Any
    trace: str | None
    created_at: datetime


class QueueRequestRefused(Exception):
    """An action that was refused; the message is the reason, in one sentence."""


async def list_dead_jobs(connection: Connection) -> list[DeadJob]:
    rows = await connection.fetch(_DEAD, LISTED)
    return [
        DeadJob(
            id=row["id"],
            queue=row["queue"],
            kind=row["kind"],
            attempts=row["attempts"],
            crashes=row["crashes"],
            error=row["error"],
            payload=msgspec.json.decode(row["payload"]),
            trace=row["trace"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def retry_jobs(connection: Connection, actor: str, jobs: Sequence[int]) -> None:
    """Retry dead jobs with all attempts; all or none. Raises QueueRequestRefused."""
    await _each(connection, actor, "retry", _RETRY, jobs)


async def discard_jobs(connection: Connection, actor: str, jobs: Sequence[int]) -> None:
    """Delete dead jobs; the audit keeps their content. Raises QueueRequestRefused."""
    await _each(connection, actor, "discard", _DISCARD, jobs)


async def pause_queue(connection: Connection, actor: str, queue: str, *, paused: bool) -> None:
    """Stop or resume the claims of a queue. Raises QueueRequestRefused."""
    async with connection.transaction():
        name = await connection.fetchval(
            "update florin.queue set paused = $2 where name = $1 returning name", queue, paused
        )
        if name is None:
            raise QueueRequestRefused(f"There is no queue {queue}; florin queue list shows them.")
        verb = "pause" if paused else "resume"
        await connection.execute(_AUDIT, actor, verb, queue, None)


async def _each(
    connection: Connection, actor: str, verb: str, sql: str, jobs: Sequence[int]
) -> None:
    async with connection.transaction():
        for job in jobs:
            try:
                row = await connection.fetchrow(sql, job)
            except asyncpg.UniqueViolationError:
                raise QueueRequestRefused(
                    f"Job {job} was not retried: the same work is in the queue already;"
                    f" florin queue discard {job} deletes it."
                ) from None
            if row is None:
                raise QueueRequestRefused(
                    f"Job {job} is not dead; florin queue failed lists dead jobs."
                )
            detail = msgspec.json.encode(dict(row)).decode()
            await connection.execute(_AUDIT, actor, verb, str(job), detail)
