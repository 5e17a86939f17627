"""Enqueue: leave a job in the outbox, in the transaction of its cause."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from florin.kit.postgres.database import Connection, Tx


class NewJob(msgspec.Struct, kw_only=True, frozen=True):
    """A job that is wanted. One whose `dedupe` waits or runs in its queue already is left out."""

    queue: str
    kind: str
    payload: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    version: int = 1
    priority: int = 0
    due_at: datetime | None = None
    dedupe: str | None = None


async def enqueue(tx: Tx, *wanted: NewJob) -> None:
    """Ask for jobs: they exist when the transaction commits, and otherwise never did."""
    await tx.run(
        "insert into florin.outbox"
        " (queue, kind, payload, version, priority, due_at, dedupe, trace, merchant)"
        " select u.*, (u.payload->>'merchant')::uuid"
        " from unnest($1::text[], $2::text[], $3::text[]::jsonb[], $4::smallint[],"
        " $5::smallint[], $6::timestamptz[], $7::text[], $8::text[])"
        " as u (queue, kind, payload, version, priority, due_at, dedupe, trace)",
        *_columns(wanted),
    )


async def publish(tx: Tx, topic: str, *, merchant: UUID, noun: UUID) -> None:
    """Leave a message for whoever follows the topic."""
    await tx.run(
        "insert into florin.outbox (topic, merchant, resource_id, trace) values ($1, $2, $3, $4)",
        topic,
        merchant,
        noun,
        _trace(),
    )


async def enqueue_now(where: Tx | Connection, *wanted: NewJob) -> int:
    """Put jobs into the queue at once; return how many: for those who are in the queue already."""
    queue, kind, payload, version, priority, due_at, dedupe, trace = _columns(wanted)
    value = where.value if isinstance(where, Tx) else where.fetchval
    made: int = await value(
        "select florin.queue_put($1, $2, $3, $4, $5, $6, $7, $8, null)",
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


def _columns(wanted: Sequence[NewJob]) -> tuple[list[Any], ...]:
    trace = _trace()
    return (
        [job.queue for job in wanted],
        [job.kind for job in wanted],
        [msgspec.json.encode(job.payload).decode() for job in wanted],
        [job.version for job in wanted],
        [job.priority for job in wanted],
        [job.due_at for job in wanted],
        [job.dedupe for job in wanted],
        [trace for _ in wanted],
    )


def _trace() -> str | None:
    """What the cause is called in the logs."""
    bound = structlog.contextvars.get_contextvars()
    found = bound.get("traceparent") or bound.get("request_id")
    return str(found) if found else None
