"""Policies: Florin's autoscaling, and the defaults of others, on the same readings.

HPA and KEDA: ⌈metric / target⌉ on waiting and running jobs, every 15 s, a tolerance of 10 %, up by
at most 100 % or four, down to the highest number desired in the last 300 s (the documented defaults
of Kubernetes' autoscaling/v2 and of KEDA's scalers). Stepping: one worker more or less when the
oldest job's wait leaves a band.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from florin.bench.autoscale.traces import OBJECTIVE_S
from florin.ops.planning.autoscaling import (
    AutoscalerState,
    QueueLoad,
    ScalingLimits,
    ScalingReading,
    decide_workers,
)

MOST = 40
LEAST = 1
_SLOTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """The readings that a policy gets; with `blind` only the clock is valid."""

    at: float
    blind: bool
    deploying: bool
    waiting: int
    running: int
    oldest_s: float
    rate: float
    done: float
    service_s: float
    workers: int
    starting: int


class Policy(Protocol):
    """Decides every `every_s` seconds on the number of workers; None leaves it unchanged."""

    @property
    def name(self) -> str: ...
    @property
    def every_s(self) -> float: ...
    def wanted(self, view: PolicyView) -> int | None: ...


class FlorinPolicy:
    """florin.ops.planning.autoscaling, called as in a fleet."""

    name = "florin"
    every_s = 5.0

    def __init__(self) -> None:
        self._limits = ScalingLimits(slots=_SLOTS, least=LEAST, most=MOST)
        self._memory = AutoscalerState(workers=2)

    def wanted(self, view: PolicyView) -> int | None:
        reading = None if view.blind else _reading(view)
        decision, self._memory = decide_workers(self._limits, self._memory, reading)
        return decision.workers


class FixedPolicy:
    """A fixed number of workers."""

    every_s = 60.0

    def __init__(self, workers: int) -> None:
        self.name = f"fixed {workers}"
        self._workers = workers

    def wanted(self, view: PolicyView) -> int | None:
        del view
        return self._workers


class HpaPolicy:
    """KEDA's metric through the defaults of the horizontal pod autoscaler."""

    name = "HPA/KEDA"
    every_s = 15.0

    def __init__(self) -> None:
        self._wants: list[tuple[float, int]] = []

    def wanted(self, view: PolicyView) -> int | None:
        if view.blind or view.workers == 0:
            return None
        metric = view.waiting + view.running
        ratio = metric / (_SLOTS * view.workers)
        want = view.workers if abs(ratio - 1) <= 0.1 else math.ceil(metric / _SLOTS)
        want = max(LEAST, min(MOST, want, view.workers + max(4, view.workers)))
        self._wants = [each for each in self._wants if view.at - each[0] <= 300]
        self._wants.append((view.at, want))
        return max(each for _, each in self._wants) if want < view.workers else want


class SteppingPolicy:
    """By the age of the oldest job: one more above half of the objective, one less when idle."""

    name = "queue age"
    every_s = 10.0

    def wanted(self, view: PolicyView) -> int | None:
        if view.blind:
            return None
        if view.oldest_s > OBJECTIVE_S / 2:
            return min(MOST, view.workers + 1)
        if view.oldest_s < OBJECTIVE_S / 10 and view.running < _SLOTS * (view.workers - 1):
            return max(LEAST, view.workers - 1)
        return None


def _reading(view: PolicyView) -> ScalingReading:
    load = QueueLoad(
        name="jobs",
        waiting=view.waiting,
        oldest_s=view.oldest_s,
        rate=view.rate,
        service_s=view.service_s,
        objective_s=OBJECTIVE_S,
    )
    return ScalingReading(
        at=view.at,
        loads=(load,),
        workers=view.workers,
        starting=view.starting,
        done=view.done,
        deploying=view.deploying,
    )
