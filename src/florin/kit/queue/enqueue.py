"""Enqueue: adds a job to the outbox, in the transaction that causes it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from florin.kit.observability.context import current_work
from florin.kit.postgres.database import Connection, Tx


class NewJob(msgspec.Struct, kw_only=True, frozen=True):
    """A new job. It is dropped if a job with its `dedupe` waits or runs in the queue already.
    `trace`: what caused it; by default the request or job of the current task.
    """

    queue: str
    kind: str
    payload: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    version: int = 1
    priority: int = 0
    due_at: datetime | None = None
    dedupe: str | None = None
    trace: str | msgspec.UnsetType | None = msgspec.UNSET


async def enqueue(tx: Tx, *jobs: NewJob) -> None:
    """Add jobs to the outbox; they exist if the transaction commits."""
    await tx.run(
        "insert into florin.outbox"
        " (queue, kind, payload, version, priority, due_at, dedupe, trace, merchant)"
        " select u.*, (u.payload->>'merchant')::uuid"
        " from unnest($1::text[], $2::text[], $3::text[]::jsonb[], $4::smallint[],"
        " $5::smallint[], $6::timestamptz[], $7::text[], $8::text[])"
        " as u (queue, kind, payload, version, priority, due_at, dedupe, trace)",
        *_columns(jobs),
    )


async def publish(tx: Tx, topic: str, *, merchant: UUID, noun: UUID) -> None:
    """Add a message to the outbox for all queues that follow the topic."""
    await tx.run(
        "insert into florin.outbox (topic, merchant, resource_id, trace) values ($1, $2, $3, $4)",
        topic,
        merchant,
        noun,
        _trace(),
    )


async def enqueue_now(where: Tx | Connection, *jobs: NewJob) -> int:
    """Put jobs into the queue without the outbox; return how many. For code that runs as a job."""
    queue, kind, payload, version, priority, due_at, dedupe, trace = _columns(jobs)
    value = where.value if isinstance(where, Tx) else where.fetchval
    made: int = await value(
        "select queue_put($1, $2, $3, $4, $5, $6, $7, $8, null)",
        queue,
        kind,
        version,
        payload,
        priority,
        due_at,
        dedupe,
        trace,
    )
    return made


def _columns(jobs: Sequence[NewJob]) -> tuple[list[Any], ...]:
    trace = _trace()
    return (
        [job.queue for job in jobs],
        [job.kind for job in jobs],
        [msgspec.json.encode(job.payload).decode() for job in jobs],
        [job.version for job in jobs],
        [job.priority for job in jobs],
        [job.due_at for job in jobs],
        [job.dedupe for job in jobs],
        [trace if job.trace is msgspec.UNSET else job.trace for job in jobs],
    )


def _trace() -> str | None:
    """The trace and the request id of the cause; see context.parse_cause."""
    return current_work().to_text()
