"""Interrupted runs: run a job in the test's process and kill it at a chosen await, as a power cut.

A kill is an exception that nothing catches, raised in every task of the job after its connections
are broken, so that nothing it still does reaches the database.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.kit.queue.job import Continue, LeaseLost, QueuedJob
from florin.kit.settings import Settings
from florin.worker import PLAN, WorkerServices
from tests.support.waiting import until

LEASE = timedelta(seconds=60)
KINDS = [(kind, each.version) for queue in PLAN.queues for kind, each in queue.kinds.items()]
# Jobs that look for work as long as they are needed.
ENDLESS = {("webhook-delivery", "follow")}
ROUNDS_MAX = 60
BROKEN_POOL_S = 1.0
_TASK: Any = asyncio.Task

_CLAIM = "select * from queue_claim($1, $2, $3, 1, $4, $5, $6)"
_LAPSE = "update florin.queue_job set lease_until = now() - interval '1 s' where state = 1"


class Killed(BaseException):
    """Raised by a kill; no code catches it."""


class Cut:
    """Counts where a verb waits; kills it at one of these places, when what it waits for is asked
    already and may or may not happen.
    """

    def __init__(self, database: Database, at: int | None = None) -> None:
        self.database, self.at = database, at
        self.passed = 0
        self.dead = False

    def here(self) -> None:
        if not self.dead and self.passed == self.at:
            self.dead = True
            # What a killed job still asks the broken pool for is not waited for long.
            self.database.pool.limits.timeout_s = BROKEN_POOL_S
            self.database.terminate()
        self.passed += 1


_cut: ContextVar[Cut | None] = ContextVar("cut", default=None)


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose awaits are counted; it is killed together with its cut."""

    def __init__(self, inner: Coroutine[Any, Any, Any], cut: Cut) -> None:
        self._inner, self._cut, self._raised = inner, cut, False

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def _step(self, how: Any, *args: Any) -> Any:
        if self._dies():
            return self._inner.throw(Killed())
        waits_for = how(*args)
        if not isinstance(waits_for, _TASK):  # a task, whose awaits are counted separately
            self._cut.here()
        return self._inner.throw(Killed()) if self._dies() else waits_for

    def _dies(self) -> bool:
        """Raise once; the unwinding code finds every connection broken."""
        dies = self._cut.dead and not self._raised
        self._raised = self._raised or dies
        return dies


@contextmanager
def counting() -> Generator[None]:
    """Count the awaits of the tasks that are started under a cut."""
    loop = asyncio.get_running_loop()

    def make(loop: Any, inner: Any, **options: Any) -> Any:
        cut = _cut.get()
        return _TASK(inner if cut is None else Counted(inner, cut), loop=loop, **options)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(None)


class Runs:
    """Runs jobs one by one, like a worker with one slot."""

    def __init__(self, url: str, owner: Any, healthy: Database, settings: Settings) -> None:
        self._url, self._owner, self._healthy, self._settings = url, owner, healthy, settings

    @asynccontextmanager
    async def database(self) -> AsyncGenerator[Database]:
        database = Database(f"{self._url}?connection_limit=4&pool_timeout=60")
        await database.open()
        await database.one("select 1")  # connect before anything is counted
        try:
            yield database
        finally:
            with contextlib.suppress(Exception):
                database.terminate()

    async def put(self, *jobs: NewJob) -> None:
        await enqueue_now(self._owner, *jobs)

    async def claim(self, database: Database) -> QueuedJob | None:
        queues = [queue.name for queue in PLAN.queues]
        rows = await database.all(
            _CLAIM,
            ids.new_id(),
            queues,
            [1] * len(queues),
            [kind for kind, _ in KINDS],
            [version for _, version in KINDS],
            LEASE,
        )
        return QueuedJob(rows[0], database, lease=LEASE) if rows else None

    async def run(self, job: QueuedJob, database: Database) -> None:
        """Run a job to its end, like a worker; exceptions are raised to the caller."""
        verb = PLAN.queue(job.queue).kinds[job.kind].run
        ended = await verb(job, WorkerServices(self._settings, database))
        if (job.queue, job.kind) in ENDLESS and isinstance(ended, Continue) and ended.delay_s:
            ended = None  # it found nothing to do; it would look again
        if isinstance(ended, Continue):
            await database.one("select queue_continue($1, $2, '0')", job.id, job.fence)
        elif not job.finished:
            await database.all("select queue_complete($1, $2)", [job.id], [job.fence])

    async def drain(self) -> None:
        """Run all jobs until none is left: failed ones again, those with lost leases as well."""
        database = self._healthy
        for _ in range(ROUNDS_MAX):
            await self.lapse(database)
            job = await self.claim(database)
            if job is None:
                states = await self._owner.fetch("select state, error from florin.queue_job")
                assert not states, f"the jobs did not end: {states}"
                return
            try:
                await self.run(job, database)
            except LeaseLost:
                continue
            except Exception as error:  # noqa: BLE001 -- any error: it is retried
                fail = "select queue_fail($1, $2, $3, '0', false)"
                await database.one(fail, job.id, job.fence, repr(error))
        raise AssertionError("the jobs do not end")

    async def lapse(self, database: Database) -> None:
        """Expire all leases, once no transaction of a killed run is left open."""

        async def free() -> bool:
            await self._owner.execute(_LAPSE)
            await database.all("select * from queue_reap()")
            return not await self._owner.fetchval(
                "select count(*) from florin.queue_job where state = 1"
            )

        await until(free)

    async def killed(self, at: int) -> bool:
        """Run the next job and kill it at await number `at`; return whether it got there."""
        async with self.database() as database:
            job = await self.claim(database)
            assert job is not None
            cut = Cut(database, at)
            token = _cut.set(cut)
            try:
                task = asyncio.create_task(self.run(job, database))
            finally:
                _cut.reset(token)
            await asyncio.wait([task])
            if not cut.dead:
                task.result()
            task.exception()
            return cut.dead

    async def at_once(self, *jobs: tuple[QueuedJob, Database]) -> None:
        """Run jobs concurrently; a job that raises is recorded as failed."""
        ended = await asyncio.gather(*(self.run(*each) for each in jobs), return_exceptions=True)
        for (job, database), error in zip(jobs, ended, strict=True):
            if error is not None and not isinstance(error, LeaseLost):
                fail = "select queue_fail($1, $2, $3, '0', false)"
                await database.one(fail, job.id, job.fence, repr(error))
