"""Slots: the jobs that a worker holds: claimed, running, and ended but not yet written."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from florin.kit.queue.config import QueueConfig
from florin.kit.queue.job import QueuedJob

PREFETCH_MAX = 400  # jobs claimed ahead of the running ones
PREFETCH_S = 0.05  # and at most this much work per slot
_USUAL_S = 1.0  # assumed run time before the first job: so long that none are claimed ahead
_WEIGHT = 0.05  # of the newest run in the running mean


@dataclass(eq=False, slots=True)
class SlotGroup:
    """Slots that queues share, or that one queue has of its own. `room` is set when one may have
    become free.
    """

    size: int
    queues: Sequence[QueueConfig]
    backlog: asyncio.Queue[QueuedJob] = field(default_factory=asyncio.Queue[QueuedJob])
    begun: dict[int, asyncio.Timeout] = field(default_factory=dict[int, asyncio.Timeout])
    room: asyncio.Event = field(default_factory=asyncio.Event)


class JobSlots:
    """The jobs of one worker by fence: the same job may be claimed again under another fence.

    A job is in `held` from its claim until its outcome is written. `freed` is called when a job of
    a queue with limits is removed: another one may be claimed now. `concurrency`: the slots that
    queues without slots of their own share.
    """

    def __init__(
        self, queues: Mapping[str, QueueConfig], concurrency: int, freed: Callable[[], None]
    ) -> None:
        self.held: dict[int, QueuedJob] = {}
        self.shared = SlotGroup(
            concurrency, [each for each in queues.values() if each.own_slots is None]
        )
        self.groups = [self.shared]
        for each in queues.values():
            if each.own_slots is not None:
                self.groups.append(SlotGroup(each.own_slots, [each]))
        self._queues = queues
        self._group_of = {each.name: group for group in self.groups for each in group.queues}
        self._freed = freed
        self._mean_s = dict.fromkeys(queues, _USUAL_S)

    def wanted_count(self, group: SlotGroup) -> dict[str, int]:
        """How many jobs of each queue of a group to claim now."""
        free = max(0, group.size - len(group.begun) - group.backlog.qsize())
        held = Counter(job.queue for job in self.held.values())
        counts: dict[str, int] = {}
        for queue in group.queues:
            ahead = min(PREFETCH_MAX, int(group.size * PREFETCH_S / self._mean_s[queue.name]))
            count = free + (ahead if group.backlog.qsize() <= ahead // 2 else 0)
            if queue.max_running_per_worker is not None:
                count = min(count, queue.max_running_per_worker - held[queue.name])
            if count > 0 and queue.kinds:
                counts[queue.name] = count
        return counts

    def take(self, job: QueuedJob) -> None:
        self.held[job.fence] = job
        self._group_of[job.queue].backlog.put_nowait(job)

    def record_duration(self, queue: str, seconds: float) -> None:
        self._mean_s[queue] += _WEIGHT * (max(seconds, 1e-6) - self._mean_s[queue])
        if seconds < self._mean_s[queue] / 2:  # fast runs lower the assumed time quickly
            self._mean_s[queue] = max(seconds, self._mean_s[queue] / 2)

    @property
    def count(self) -> int:
        """All slots: the shared ones and those that queues have of their own."""
        return sum(group.size for group in self.groups)

    @property
    def running(self) -> int:
        return sum(len(group.begun) for group in self.groups)

    def owns(self, job: QueuedJob) -> bool:
        return job.fence in self.held

    def remove(self, job: QueuedJob) -> None:
        self._let_go(job.fence)

    def lose(self, fence: int) -> None:
        """The lease is lost: cancel the job at its next await."""
        if self._let_go(fence):
            _interrupt(group.begun[fence] for group in self.groups if fence in group.begun)

    def leave(self, group: SlotGroup, fence: int) -> None:
        """Abandon a job that ignores cancellation; its slot is free."""
        del group.begun[fence]
        self._let_go(fence)

    def _let_go(self, fence: int) -> bool:
        job = self.held.pop(fence, None)
        if job is not None and self._queues[job.queue].limited:
            self._freed()
        return job is not None

    def interrupt(self) -> None:
        """Cancel all running jobs at their next await."""
        for group in self.groups:
            _interrupt(list(group.begun.values()))

    def drop_backlog(self) -> list[QueuedJob]:
        """Remove and return the claimed jobs that have not started."""
        dropped: list[QueuedJob] = []
        for group in self.groups:
            while not group.backlog.empty():
                job = group.backlog.get_nowait()
                if self.owns(job):
                    dropped.append(job)
        return dropped


def _interrupt(timeouts: Iterable[asyncio.Timeout]) -> None:
    now = asyncio.get_running_loop().time()
    for timeout in timeouts:
        timeout.reschedule(now)
