"""Slots: the jobs that a worker holds: claimed, running, and ended but not yet written."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from florin.kit.queue.config import QueueConfig
from florin.kit.queue.job import QueuedJob

PREFETCH_MAX = 400  # jobs claimed ahead of the running ones
PREFETCH_S = 0.05  # and at most this much work per slot
_USUAL_S = 1.0  # assumed run time before the first job: so long that none are claimed ahead
_WEIGHT = 0.05  # of the newest run in the running mean


class JobSlots:
    """The jobs of one worker by fence: the same job may be claimed again under another fence.

    A job is in `held` from its claim until its outcome is written. `freed` is called when a job of
    a queue with limits is removed: another one may be claimed now.
    """

    def __init__(
        self, queues: Mapping[str, QueueConfig], concurrency: int, freed: Callable[[], None]
    ) -> None:
        self.held: dict[int, QueuedJob] = {}
        self.begun: dict[int, asyncio.Timeout] = {}
        self.backlog: asyncio.Queue[QueuedJob] = asyncio.Queue()
        self._queues = queues
        self._concurrency = concurrency
        self._freed = freed
        self._mean_s = dict.fromkeys(queues, _USUAL_S)

    def wanted_count(self) -> dict[str, int]:
        """How many jobs of each queue to claim now."""
        free = max(0, self._concurrency - len(self.begun) - self.backlog.qsize())
        held = Counter(job.queue for job in self.held.values())
        counts: dict[str, int] = {}
        for name, queue in self._queues.items():
            ahead = min(PREFETCH_MAX, int(self._concurrency * PREFETCH_S / self._mean_s[name]))
            count = free + (ahead if self.backlog.qsize() <= ahead // 2 else 0)
            if queue.max_running_per_worker is not None:
                count = min(count, queue.max_running_per_worker - held[name])
            if count > 0 and queue.kinds:
                counts[name] = count
        return counts

    def take(self, job: QueuedJob) -> None:
        self.held[job.fence] = job
        self.backlog.put_nowait(job)

    def record_duration(self, queue: str, seconds: float) -> None:
        self._mean_s[queue] += _WEIGHT * (max(seconds, 1e-6) - self._mean_s[queue])
        if seconds < self._mean_s[queue] / 2:  # fast runs lower the assumed time quickly
            self._mean_s[queue] = max(seconds, self._mean_s[queue] / 2)

    def owns(self, job: QueuedJob) -> bool:
        return job.fence in self.held

    def remove(self, job: QueuedJob) -> None:
        self._let_go(job.fence)

    def lose(self, fence: int) -> None:
        """The lease is lost: cancel the job at its next await."""
        if self._let_go(fence) and fence in self.begun:
            self.begun[fence].reschedule(asyncio.get_running_loop().time())

    def leave(self, fence: int) -> None:
        """Abandon a job that ignores cancellation; its slot is free."""
        del self.begun[fence]
        self._let_go(fence)

    def _let_go(self, fence: int) -> bool:
        job = self.held.pop(fence, None)
        if job is not None and self._queues[job.queue].limited:
            self._freed()
        return job is not None

    def interrupt(self) -> None:
        """Cancel all running jobs at their next await."""
        now = asyncio.get_running_loop().time()
        for timeout in list(self.begun.values()):
            timeout.reschedule(now)

    def drop_backlog(self) -> list[QueuedJob]:
        """Remove and return the claimed jobs that have not started."""
        dropped: list[QueuedJob] = []
        while not self.backlog.empty():
            job = self.backlog.get_nowait()
            if self.owns(job):
                dropped.append(job)
        return dropped
