"""Job: one thing to do, in the hands of the worker that holds its lease."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec

from florin.kit.postgres.database import Database, Row, Tx


class LeaseLost(Exception):
    """Somebody else has this job now. Nothing of it may happen here any more."""


class PermanentFailure(Exception):
    """Never try again: the job is dead at its first failure. The reason is the message."""


class Continue(msgspec.Struct, frozen=True):
    """One slice is done; the next one comes after `delay_s`, to whichever worker takes it."""

    delay_s: float = 0


class QueuedJob:
    """A job while its verb runs.

    Every effect goes through `effect`: its transaction holds the lease, so that of two workers
    that believe to have the job, one stopped for a while and one that took over, only the holder
    changes anything. What cannot be in a transaction (a message that leaves) must name the job's
    id as its own key.
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
        self.finished = False  # in the transaction of its effect
        self._database = database
        self._lease = lease
        self._stopping = stopping

    @property
    def payload(self) -> dict[str, Any]:
        return msgspec.json.decode(self.text)

    @property
    def stopping(self) -> bool:
        """The worker wants to end: finish this slice and return Again."""
        return self._stopping()

    @asynccontextmanager
    async def effect(self, *, last: bool = False) -> AsyncGenerator[Tx]:
        """A transaction that happens only while the lease is held, and that renews it.

        With `last` the job is done in the same transaction. Raises LeaseLost.
        """
        async with self._database.transaction() as tx:
            if not await tx.value(
                "select florin.queue_hold($1, $2, $3)", self.id, self.fence, self._lease
            ):
                raise LeaseLost
            yield tx
            if last:
                await tx.run(
                    "delete from florin.queue_job where id = $1 and fence = $2", self.id, self.fence
                )
        self.finished = self.finished or last

    async def step(self, tx: Tx) -> None:
        """Within an effect: it got further. Attempts are counted from here, for a long job may
        well lose more workers than a short one; one that gets nowhere still ends.
        """
        await tx.run(
            "update florin.queue_job set attempts = 1, crashes = 0 where id = $1 and fence = $2",
            self.id,
            self.fence,
        )
