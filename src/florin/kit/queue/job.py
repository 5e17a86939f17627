"""Job: one task, run by the worker that holds its lease."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from florin.kit.postgres.database import Database, Row, Tx


class LeaseLost(Exception):
    """Another worker owns the job now. It must have no further effect in this one."""


class PermanentFailure(Exception):
    """A failure that is not retried: the job is dead at once. The message is the reason."""


class Continue(msgspec.Struct, frozen=True):
    """A part of the job is done; any worker runs the next one after `delay_s`."""

    delay_s: float = 0


class QueuedJob:
    """A job while its function runs.

    Every effect goes through `effect`, whose transaction checks the lease. If a worker was paused
    and another one claimed its job, only the owner of the lease can change anything. An effect
    outside the database (a message that is sent) must use the job's id as its idempotency key.
    """

    def __init__(
        self,
        row: Row,
        database: Database,
        *,
        lease: timedelta,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.id: int = row["id"]
        self.queue: str = row["queue"]
        self.kind: str = row["kind"]
        self.version: int = row["version"]
        self.priority: int = row["priority"]
        self.attempts: int = row["attempts"]
        self.crashes: int = row["crashes"]
        self.fence: int = row["fence"]
        self.trace: str | None = row["trace"]
        self.position: str | None = row["log_position"]
        self.waited_s: float = row["waited_s"]
        self.text: str = row["payload"]
        self.finished = False  # set by the transaction of its last effect
        self._database = database
        self._lease = lease
        self._stopping = stopping

    @property
    def payload(self) -> dict[str, Any]:
        return msgspec.json.decode(self.text)

    @property
    def stopping(self) -> bool:
        """Whether the worker stops: finish the current part and return Continue."""
        return self._stopping()

    @asynccontextmanager
    async def effect(self, *, last: bool = False) -> AsyncGenerator[Tx]:
        """A transaction that commits only while the lease is held, and that renews it.

        With `last` the same transaction completes the job. Raises LeaseLost.
        """
        async with self._database.transaction() as tx:
            if not await tx.value(
                "select queue_hold($1, $2, $3)", self.id, self.fence, self._lease
            ):
                raise LeaseLost
            yield tx
            if last:
                await tx.run(
                    "delete from florin.queue_job where id = $1 and fence = $2", self.id, self.fence
                )
        self.finished = self.finished or last

    @asynccontextmanager
    async def joint_effect(self, jobs: Sequence["QueuedJob"]) -> AsyncGenerator["JointEffect"]:
        """One transaction for the effects of several jobs of this worker, of those that it holds.

        A job that is not in `held` must have no effect here: its own `effect` finds out why.
        """
        async with self._database.transaction() as tx:
            rows = await tx.all(
                "select fence from queue_hold_all($1, $2, $3) as fence",
                [job.id for job in jobs],
                [job.fence for job in jobs],
                self._lease,
            )
            fences = {row["fence"] for row in rows}
            effect = JointEffect(tx, [job for job in jobs if job.fence in fences])
            yield effect
            if effect.last:
                await tx.all(
                    "select queue_complete($1, $2)",
                    [job.id for job in effect.last],
                    [job.fence for job in effect.last],
                )
        for job in effect.last:
            job.finished = True

    async def step(self, tx: Tx) -> None:
        """Record progress, within an effect: attempts are counted anew, since a long job may lose
        more workers than a short one. A job without progress still runs out of attempts.
        """
        await tx.run(
            "update florin.queue_job set attempts = 1, crashes = 0 where id = $1 and fence = $2",
            self.id,
            self.fence,
        )


@dataclass(slots=True)
class JointEffect:
    """A transaction of several jobs: `held` are theirs whose leases it holds, `last` those that it
    completes.
    """

    tx: Tx
    held: Sequence[QueuedJob]
    last: list[QueuedJob] = field(default_factory=list[QueuedJob])
