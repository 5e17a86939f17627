"""Results: writes the outcomes of jobs in bulk, and retries until the database has them."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec

from florin.kit.observability import logging, metrics
from florin.kit.observability.context import parse_cause
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout
from florin.kit.queue.config import QueueConfig
from florin.kit.queue.job import Continue, LeaseLost, PermanentFailure, QueuedJob
from florin.kit.queue.slots import JobSlots

ERROR_MAX = 2000  # characters kept of an error
_REPEAT_AFTER_S = 0.5
_log = logging.get_logger()


class JobFailure(msgspec.Struct, frozen=True):
    """The error of a job; `final`: it is not retried."""

    message: str
    final: bool = False


Ended = Continue | JobFailure | None  # the result of a job's function; None: done


@dataclass(slots=True)
class QueueTally:
    """Counts of a queue since they were last written."""

    completed: int = 0
    failed: int = 0
    dead: int = 0
    run_s: float = 0.0

    def add(self, other: "QueueTally") -> None:
        self.completed += other.completed
        self.failed += other.failed
        self.dead += other.dead
        self.run_s += other.run_s


@dataclass(slots=True)
class ResultWriter:
    """Writes outcomes; a job stays held until its outcome is written."""

    database: Database
    queues: Mapping[str, QueueConfig]
    slots: JobSlots
    tallies: dict[str, QueueTally] = field(default_factory=lambda: defaultdict(QueueTally))
    _done: list[QueuedJob] = field(default_factory=list[QueuedJob])
    _other: list[tuple[QueuedJob, Continue | JobFailure]] = field(
        default_factory=list[tuple[QueuedJob, Continue | JobFailure]]
    )
    _there: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, job: QueuedJob, ended: Ended, *, seconds: float) -> None:
        tally = self.tallies[job.queue]
        tally.run_s += seconds
        if ended is None and job.finished:
            self.slots.remove(job)
            self._completed(job.queue, 1)
        elif ended is None:
            self._done.append(job)
            self._there.set()
        else:
            self._other.append((job, ended))
            self._there.set()

    @property
    def waiting(self) -> int:
        return len(self._done) + len(self._other)

    async def write_forever(self) -> None:
        while True:
            await self._there.wait()
            self._there.clear()
            await self.write()

    async def write(self) -> None:
        """Write all pending outcomes; while the database is unreachable, retry."""
        while self.waiting:
            try:
                if self._done:
                    written = list(self._done)  # more may be added meanwhile
                    await self._write_done(written)
                    del self._done[: len(written)]
                while self._other:
                    job, ended = self._other[0]
                    await self._write_other(job, ended)
                    self._other.pop(0)
                    self.slots.remove(job)
            except (*BROKEN, PoolTimeout, asyncpg.PostgresError) as error:
                _log.warning("outcomes wait for the database", error=repr(error))
                await asyncio.sleep(_REPEAT_AFTER_S)

    async def begin(self, job: QueuedJob) -> None:
        """Record the start of a job that lost a worker before. Raises LeaseLost."""
        if not await self._value("select queue_begin($1, $2) as value", job.id, job.fence):
            raise LeaseLost

    async def give_back(self, jobs: list[QueuedJob]) -> None:
        """Release jobs that did not start or finish; the attempt is not counted."""
        if not jobs:
            return
        async with self.database.connection() as connection:
            await connection.execute(
                "select queue_give_back($1, $2)",
                [job.id for job in jobs],
                [job.fence for job in jobs],
            )
        for job in jobs:
            self.slots.remove(job)

    async def count(self) -> None:
        """Add the counts to the queues' totals."""
        tallies, self.tallies = self.tallies, defaultdict[str, QueueTally](QueueTally)
        if not tallies:
            return
        rows = sorted(tallies.items())  # the same order in every worker avoids deadlocks
        try:
            async with self.database.connection() as connection:
                await connection.execute(
                    "select queue_count($1, $2, $3, $4, $5)",
                    [name for name, _ in rows],
                    [tally.completed for _, tally in rows],
                    [tally.failed for _, tally in rows],
                    [tally.dead for _, tally in rows],
                    [tally.run_s for _, tally in rows],
                )
        except BaseException:
            for name, tally in rows:  # written with the next heartbeat
                self.tallies[name].add(tally)
            raise

    async def _write_done(self, jobs: list[QueuedJob]) -> None:
        rows = await self.database.all(
            "select id from queue_complete($1, $2) as id",
            [job.id for job in jobs],
            [job.fence for job in jobs],
        )
        gone = {row["id"] for row in rows}
        for job in jobs:
            self.slots.remove(job)
            if job.id in gone:
                self._completed(job.queue, 1)
            else:
                metrics.queue_fenced.labels(job.queue).inc()

    async def _write_other(self, job: QueuedJob, ended: Continue | JobFailure) -> None:
        if isinstance(ended, Continue):
            written = await self._value(
                "select queue_continue($1, $2, $3) as value",
                job.id,
                job.fence,
                timedelta(seconds=ended.delay_s),
            )
        else:
            dead = await self._value(
                "select queue_fail($1, $2, $3, $4, $5) as value",
                job.id,
                job.fence,
                ended.message,
                self.queues[job.queue].delay(job.attempts),
                ended.final,
            )
            written = dead is not None
            if dead is not None:
                self._failed(job, ended.message, dead=dead)
        if not written:
            metrics.queue_fenced.labels(job.queue).inc()

    async def _value(self, sql: str, *args: object) -> bool | None:
        row = await self.database.one(sql, *args)
        return None if row is None else row["value"]

    def _completed(self, queue: str, number: int) -> None:
        self.tallies[queue].completed += number
        metrics.queue_jobs.labels(queue, "completed").inc(number)

    def _failed(self, job: QueuedJob, message: str, *, dead: bool) -> None:
        tally = self.tallies[job.queue]
        tally.failed += 1
        tally.dead += dead
        metrics.queue_jobs.labels(job.queue, "failed").inc()
        if dead:
            metrics.queue_jobs.labels(job.queue, "dead").inc()
        _log.warning(
            "a job failed",
            queue=job.queue,
            kind=job.kind,
            job=job.id,
            attempt=job.attempts,
            dead=dead,
            **parse_cause(job.trace).log_fields(),
            error=message,
        )


def job_failure(error: BaseException) -> JobFailure:
    """The failure for an exception, as text: the exception would keep its frames' objects alive."""
    text = str(error)
    if isinstance(error, TimeoutError) and not text:
        text = "it exceeded the time limit of its queue"
    elif isinstance(error, asyncpg.PostgresError):
        text = text.partition("\n")[0]
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" ({Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno})" if last else ""
    # PostgreSQL's text cannot contain NUL.
    return JobFailure(
        (message[:ERROR_MAX] + where).replace("\0", "�"), isinstance(error, PermanentFailure)
    )
