"""Simulation: jobs, workers that boot and drain, and a policy that decides periodically."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from florin.bench.autoscale.policies import Policy, PolicyView
from florin.bench.autoscale.traces import OBJECTIVE_S, SERVICE_S, Trace

SLOTS = 5
BOOT_S = 6.0
_RATE_S = 30.0  # over which arrivals and finished jobs are counted
_SERVICE_S = 60.0  # over which a job's time is averaged
_PATIENCE_S = 3_600.0  # after the trace; jobs that still wait then count as unfinished


@dataclass(slots=True)
class _Worker:
    busy: int = 0
    ready: bool = False
    draining: bool = False
    since: float = 0.0


@dataclass(slots=True)
class Score:
    """The result of a policy on a trace."""

    policy: str
    trace: str
    jobs: int = 0
    within: float = 0.0  # share of the jobs that started within the objective
    p99_s: float = 0.0
    worker_hours: float = 0.0
    ideal_hours: float = 0.0  # worker-hours of all work at the target utilisation
    flips: float = 0  # changes of direction
    changes: float = 0
    unfinished: int = 0
    counts: list[tuple[float, int, int]] = field(default_factory=list)  # at, workers, waiting


def simulate_trace(trace: Trace, policy: Policy, *, seed: int, start: int = 2) -> Score:
    """Simulate a trace under a policy and return its score. Deterministic in the seed."""
    play = _Play(trace, policy, seed, start)
    play.run()
    return play.score


class _Play:
    """One run: events in order of time, each a function that is called at its instant."""

    def __init__(self, trace: Trace, policy: Policy, seed: int, start: int) -> None:
        self.trace = trace
        self.policy = policy
        self.score = Score(policy=policy.name, trace=trace.name)
        self.workers = [_Worker(ready=True) for _ in range(start)]
        self.waiting: deque[tuple[float, float]] = deque()
        self.running = 0
        self._source = trace.arrivals(seed)
        self._arrived: deque[float] = deque()
        self._done: deque[tuple[float, float]] = deque()
        self._waits: list[float] = []
        self._worked_s = self._held_s = 0.0
        self._direction = 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def run(self) -> None:
        self._next_arrival()
        self._push(0.0, self._ask)
        while self._events:
            at, _, happen = heapq.heappop(self._events)
            if at > self.trace.lasts_s + _PATIENCE_S:
                break
            happen(at)
            self._pull(at)
        self._count()

    def _push(self, at: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), happen))

    def _next_arrival(self) -> None:
        arrival = next(self._source, None)
        if arrival is None:
            return
        service_s = arrival[1]

        def arrive(at: float) -> None:
            self.waiting.append((at, service_s))
            self._arrived.append(at)
            self.score.jobs += 1
            self._next_arrival()

        self._push(arrival[0], arrive)

    def _pull(self, at: float) -> None:
        """Assign the oldest waiting job to the least loaded worker."""
        while self.waiting and (worker := self._free()) is not None:
            since, service_s = self.waiting.popleft()
            self._waits.append(at - since)
            worker.busy += 1
            self.running += 1
            self._start(at, worker, self._takes(at, service_s))

    def _start(self, at: float, worker: _Worker, taken: float) -> None:
        def finish(then: float) -> None:
            worker.busy -= 1
            self.running -= 1
            self._done.append((then, taken))
            self._worked_s += taken
            if worker.draining and worker.busy == 0:
                self._leave(worker, then)

        self._push(at + taken, finish)

    def _free(self) -> _Worker | None:
        best: _Worker | None = None
        for worker in self.workers:
            takes = worker.ready and not worker.draining and worker.busy < SLOTS
            if takes and (best is None or worker.busy < best.busy):
                best = worker
        return best

    def _takes(self, at: float, service_s: float) -> float:
        """Return the duration of a job that starts now."""
        slow = self.trace.slow
        if slow is None or not _within(at, (slow,)):
            return service_s
        crowd = self.running / self.trace.capacity if self.trace.capacity else 1.0
        return 3 * service_s * max(1.0, crowd)

    def _ask(self, at: float) -> None:
        """Apply the policy's decision: workers are started or drained, never killed."""
        if at >= self.trace.lasts_s:
            return
        change = self._follow(self.policy.wanted(self._view(at)), at)
        if change:
            self.score.changes += 1
            self.score.flips += 1 if change * self._direction < 0 else 0
            self._direction = change
        self.score.counts.append((at, len(self.workers), len(self.waiting)))
        self._push(at + self.policy.every_s, self._ask)

    def _follow(self, wanted: int | None, at: float) -> int:
        staying = [worker for worker in self.workers if not worker.draining]
        if wanted is None:
            return 0
        for _ in range(wanted - len(staying)):
            self._boot(at)
        idlest = sorted(staying, key=lambda each: (each.ready, each.busy))
        for worker in idlest[: max(0, len(staying) - wanted)]:
            worker.draining = True
            if worker.busy == 0:
                self._leave(worker, at)
        return wanted - len(staying)

    def _boot(self, at: float) -> None:
        worker = _Worker(since=at)

        def boot(_: float) -> None:
            worker.ready = True

        self.workers.append(worker)
        self._push(at + BOOT_S, boot)

    def _leave(self, worker: _Worker, at: float) -> None:
        self.workers.remove(worker)
        self._held_s += max(0.0, min(at, self.trace.lasts_s) - worker.since)

    def _view(self, at: float) -> PolicyView:
        while self._arrived and self._arrived[0] < at - _RATE_S:
            self._arrived.popleft()
        while self._done and self._done[0][0] < at - _SERVICE_S:
            self._done.popleft()
        staying = [worker for worker in self.workers if not worker.draining]
        taken = [each for _, each in self._done]
        return PolicyView(
            at=at,
            blind=_within(at, self.trace.blind),
            deploying=_within(at, self.trace.deploys),
            waiting=len(self.waiting),
            running=self.running,
            oldest_s=at - self.waiting[0][0] if self.waiting else 0.0,
            rate=max(sum(t > at - 10 for t in self._arrived) / 10, len(self._arrived) / _RATE_S),
            done=sum(t > at - _RATE_S for t, _ in self._done) / _RATE_S,
            service_s=sum(taken) / len(taken) if taken else SERVICE_S,
            workers=len(staying),
            starting=sum(not worker.ready for worker in staying),
        )

    def _count(self) -> None:
        for worker in list(self.workers):
            self._leave(worker, self.trace.lasts_s)
        score, waits = self.score, sorted(self._waits)
        score.unfinished = len(self.waiting)
        score.worker_hours = self._held_s / 3_600
        score.ideal_hours = self._worked_s / (SLOTS * 0.7) / 3_600
        score.within = sum(wait <= OBJECTIVE_S for wait in waits) / max(1, score.jobs)
        score.p99_s = waits[int(0.99 * (len(waits) - 1))] if waits else 0.0


def _within(at: float, spans: Iterable[tuple[float, float]]) -> bool:
    return any(begin <= at < end for begin, end in spans)
