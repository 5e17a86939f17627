"""Results: what became of jobs, written in bulk, repeated until the database has it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec

from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout
from florin.kit.queue.config import QueueConfig
from florin.kit.queue.job import Continue, LeaseLost, PermanentFailure, QueuedJob
from florin.kit.queue.slots import JobSlots

ERROR_MAX = 2000  # characters kept of an error
_REPEAT_AFTER_S = 0.5
_log = logging.get_logger()


class JobFailure(msgspec.Struct, frozen=True):
    """How it failed, in words; `final`: it is not tried again."""

    message: str
    final: bool = False


Ended = Continue | JobFailure | None  # how the verb ended; None is done


@dataclass(slots=True)
class QueueTally:
    """What happened in a queue since it was last counted."""

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
    """Waits for outcomes and writes them; a job stays held until its own is written."""

    database: Database
    queues: Mapping[str, QueueConfig]
    hands: JobSlots
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
            self.hands.remove(job)
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
        """Write what there is; when the database is away, wait for it."""
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
                    self.hands.remove(job)
            except (*BROKEN, PoolTimeout, asyncpg.PostgresError) as error:
                _log.warning("outcomes wait for the database", error=repr(error))
                await asyncio.sleep(_REPEAT_AFTER_S)

    async def begin(self, job: QueuedJob) -> None:
        """Write down that the turn of a suspect has come. Raises LeaseLost."""
        if not await self._value("select florin.queue_begin($1, $2) as value", job.id, job.fence):
            raise LeaseLost

    async def give_back(self, jobs: list[QueuedJob]) -> None:
        """Not begun, or not finished: somebody else's, and the attempt does not count."""
        if not jobs:
            return
        async with self.database.connection() as connection:
            await connection.execute(
                "select florin.queue_give_back($1, $2)",
                [job.id for job in jobs],
                [job.fence for job in jobs],
            )
        for job in jobs:
            self.hands.remove(job)

    async def count(self) -> None:
        """Add what happened to the queues' totals."""
        tallies, self.tallies = self.tallies, defaultdict[str, QueueTally](QueueTally)
        if not tallies:
            return
        rows = sorted(tallies.items())  # two workers never wait for each other crosswise
        try:
            async with self.database.connection() as connection:
                await connection.execute(
                    "select florin.queue_count($1, $2, $3, $4, $5)",
                    [name for name, _ in rows],
                    [tally.completed for _, tally in rows],
                    [tally.failed for _, tally in rows],
                    [tally.dead for _, tally in rows],
                    [tally.run_s for _, tally in rows],
                )
        except BaseException:
            for name, tally in rows:  # with the next beat
                self.tallies[name].add(tally)
            raise

    async def _write_done(self, jobs: list[QueuedJob]) -> None:
        rows = await self.database.all(
            "select id from florin.queue_complete($1, $2) as id",
            [job.id for job in jobs],
            [job.fence for job in jobs],
        )
        gone = {row["id"] for row in rows}
        for job in jobs:
            self.hands.remove(job)
            if job.id in gone:
                self._completed(job.queue, 1)
            else:
                metrics.queue_fenced.labels(job.queue).inc()

    async def _write_other(self, job: QueuedJob, ended: Continue | JobFailure) -> None:
        if isinstance(ended, Continue):
            written = await self._value(
                "select florin.queue_continue($1, $2, $3) as value",
                job.id,
                job.fence,
                timedelta(seconds=ended.delay_s),
            )
        else:
            dead = await self._value(
                "select florin.queue_fail($1, $2, $3, $4, $5) as value",
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

    def _failed(self, job: QueuedJob, words: str, *, dead: bool) -> None:
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
            trace=job.trace,
            error=words,
        )


def job_failure(error: BaseException) -> JobFailure:
    """What a job raised, in words: an error itself would keep alive all that its frames hold."""
    text = str(error)
    if isinstance(error, TimeoutError) and not text:
        text = "it took longer than its queue allows"
    elif isinstance(error, asyncpg.PostgresError):
        text = text.partition("\n")[0]
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" ({Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno})" if last else ""
    # PostgreSQL keeps no NUL in a text.
    return JobFailure(
        (words[:ERROR_MAX] + where).replace("\0", "�"), isinstance(error, PermanentFailure)
    )
