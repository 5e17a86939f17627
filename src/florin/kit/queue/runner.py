"""Runner: runs jobs in the worker's slots, each until it ends, fails or times out."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import structlog

from florin.kit.errors import Refusal
from florin.kit.observability import error_reports, metrics, tracing
from florin.kit.observability.context import TraceContext, bind_work, parse_cause
from florin.kit.postgres.database import BROKEN, PoolTimeout
from florin.kit.queue.config import QueueConfig
from florin.kit.queue.job import Continue, LeaseLost, PermanentFailure, QueuedJob
from florin.kit.queue.results import Ended, JobFailure, ResultWriter, job_failure
from florin.kit.queue.slots import JobSlots, SlotGroup

OVERDUE_S = 5.0  # after its timeout, a job that ignores cancellation is abandoned
ALONE_S = 20.0  # for the start of an isolated process on a busy machine
LOST_MOST = 2  # workers lost with a job; one loss may have been caused by another job
_AWAY = (*BROKEN, PoolTimeout, asyncpg.PostgresError)
_EXPECTED = (PermanentFailure, TimeoutError, Refusal, *BROKEN, PoolTimeout)  # not reported


class SlotRunners:
    """The slots of a worker. `context` is passed to job functions; `alone` runs a job whose worker
    was lost twice in its own process.
    """

    def __init__(
        self,
        queues: Mapping[str, QueueConfig],
        slots: JobSlots,
        outcomes: ResultWriter,
        *,
        context: Any,
        alone: Callable[[QueuedJob], Awaitable[Continue | None]],
    ) -> None:
        self.late = False  # the time to finish is over: running jobs are released
        self._queues = queues
        self._slots = slots
        self._outcomes = outcomes
        self._context = context
        self._alone = alone
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for group in self._slots.groups:
            for _ in range(group.size):
                self._start_one(group)

    async def end(self) -> int:
        """Cancel the remaining jobs; return how many ignore cancellation."""
        for task in self._tasks:
            task.cancel()
        if not self._tasks:
            return 0
        _, unresponsive = await asyncio.wait(self._tasks, timeout=1)
        return len(unresponsive)

    def _start_one(self, group: SlotGroup) -> None:
        task = asyncio.ensure_future(self._run_forever(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_forever(self, group: SlotGroup) -> None:
        while True:
            job = await group.backlog.get()
            if not self._slots.owns(job):
                continue
            started = time.perf_counter()
            ended = await self._run(group, job)
            seconds = time.perf_counter() - started
            timeout = group.begun.pop(job.fence, None)
            self._slots.record_duration(job.queue, seconds)
            metrics.queue_run_seconds.labels(job.queue).observe(seconds)
            if timeout is None:
                return  # it was abandoned, and another runner has this slot
            if self.late and isinstance(ended, JobFailure) and self._slots.owns(job):
                with contextlib.suppress(*_AWAY):
                    await self._outcomes.give_back([job])
            elif self._slots.owns(job):
                self._outcomes.add(job, ended, seconds=seconds)
            else:
                metrics.queue_fenced.labels(job.queue).inc()
            group.room.set()

    async def _run(self, group: SlotGroup, job: QueuedJob) -> Ended:
        """Run the job's function until it ends, fails or times out."""
        structlog.contextvars.bind_contextvars(job=job.id, queue=job.queue)
        cause = parse_cause(job.trace)
        trace = tracing.begin_caused(cause.trace, f"job {job.queue} {job.kind}", "consumer")
        bind_work(cause.request_id, trace)
        ended = await self._run_within_limits(group, job)
        if trace is not None:
            _end_trace(trace, job, ended)
        return ended

    async def _run_within_limits(self, group: SlotGroup, job: QueuedJob) -> Ended:
        queue = self._queues[job.queue]
        try:
            extra_s = ALONE_S if job.crashes >= LOST_MOST else 0
            async with asyncio.timeout(queue.timeout_s + extra_s) as timeout:
                group.begun[job.fence] = timeout
                if job.crashes:
                    await self._outcomes.begin(job)
                if job.crashes >= LOST_MOST:
                    return await self._alone(job)
                # An unknown kind raises here, so that the job fails, not the worker.
                return await queue.kinds[job.kind].run(job, self._context)
        except LeaseLost as lost:
            self._slots.remove(job)
            return job_failure(lost)
        except BaseException as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if not isinstance(error, _EXPECTED):
                fields = {"event": "a job failed", "queue": job.queue, "kind": job.kind}
                error_reports.report_error(error, fields)
            return job_failure(error)

    def leave_overdue(self) -> None:
        """Abandon jobs that ignore their timeout: they lose their lease and their slot."""
        now = asyncio.get_running_loop().time()
        for group in self._slots.groups:
            for fence, timeout in list(group.begun.items()):
                when = timeout.when()
                if timeout.expired() and when is not None and now > when + OVERDUE_S:
                    self._slots.leave(group, fence)
                    self._start_one(group)


def _end_trace(trace: TraceContext, job: QueuedJob, ended: Ended) -> None:
    attributes = {
        "messaging.destination.name": job.queue,
        "florin.job.kind": job.kind,
        "florin.job.id": job.id,
        "florin.job.attempt": job.attempts,
        "florin.job.waited_s": round(job.waited_s, 3),
    }
    # The type of the exception; its text may quote values.
    error = ended.message.partition(":")[0] if isinstance(ended, JobFailure) else None
    tracing.end_trace(trace, attributes, error)
