"""Autoscaling: the number of workers as a pure function of a reading and the remembered state.

Little's law (L = λW) gives the slots that arrivals keep busy before a queue grows; the backlog adds
the slots that empty it within half of its objective:

    slots = Σ over queues of  λ·S / u  +  B·S / T        workers = ⌈slots / slots a worker⌉

λ arrivals a second (the larger of two windows), S seconds a job takes, u the utilisation aimed at,
B jobs waiting, T half of the queue's objective. Growing is immediate, shrinking is slow: an extra
worker costs little, a late job misses its objective. A decision contains all its inputs and
`ScalingDecision.again` repeats it, so a log of decisions can be replayed.
"""

import math
from typing import Literal

import msgspec

Reason = Literal[
    "steady",  # the number is the wanted one, or within the bands
    "grow",  # more workers are wanted, or jobs wait too long
    "shrink",  # fewer workers were wanted for the whole window
    "blind",  # the queues cannot be read: no change
    "fallback",  # the queues cannot be read for long: at least the fallback number
    "deploying",  # a deployment changes the workers
    "failing",  # jobs fail: more workers would only retry them faster
    "saturated",  # more workers did not do more work: something else is the limit
]


class ScalingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's limits and objectives. Times in seconds."""

    slots: int = 5  # jobs at once in a worker
    least: int = 1
    most: int = 20  # from the budget of connections
    fallback: int = 2
    utilisation: float = 0.7
    band_up: float = 1.15
    band_down: float = 0.85
    late: float = 0.1  # of a queue's objective: a longer wait grows at once
    window_s: float = 180.0
    shrink_every_s: float = 60.0
    shrink_share: float = 0.25
    failing: float = 0.2
    blind_readings: int = 3
    bulk_within_s: float = 600.0  # the time to empty a queue without objective
    trial_s: float = 30.0  # the time after which more workers must have done more work
    believe_s: float = 300.0  # how long a detected saturation is assumed to last


class QueueLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The reading of one queue."""

    name: str
    waiting: int  # jobs due now; delayed jobs do not count
    oldest_s: float  # how long the oldest due job waits
    rate: float  # arrivals a second, the larger of the last 10 and the last 30 seconds
    service_s: float  # how long a job takes, smoothed
    objective_s: float | None = None  # within which a job should start; None for bulk work
    floor: float = 0.0  # the least number of slots for this queue
    max_running: int | None = None  # concurrent jobs of the whole fleet
    max_running_per_worker: int | None = None  # concurrent jobs of one worker
    own_slots: int | None = None  # of a worker for this queue alone; None: it shares those of all


class ScalingReading(msgspec.Struct, frozen=True, kw_only=True):
    """The reading at time `at` (seconds of a monotonic clock)."""

    at: float
    loads: tuple[QueueLoad, ...]
    workers: int  # running and starting workers, without those that drain
    starting: int = 0  # of `workers`
    done: float = 0.0  # jobs finished a second, over the last 30 seconds
    failed: float = 0.0  # share of the attempts of the last minute that failed
    deploying: bool = False


class PreviousReading(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an earlier reading: the ready workers and the work they did."""

    at: float
    ready: int
    done: float
    waiting: int


class AutoscalerState(msgspec.Struct, frozen=True, kw_only=True):
    """The state that is kept from one decision to the next."""

    workers: int = 0
    wants: tuple[tuple[float, int], ...] = ()
    since: float | None = None  # the first reading: nothing shrinks before a full window
    shrunk_at: float | None = None
    blind: int = 0
    seen: tuple[PreviousReading, ...] = ()  # the last two trials, oldest first
    ceiling: int | None = None  # assumed to be enough until `ceiling_until`, or more work is done
    ceiling_until: float = 0.0
    ceiling_done: float = 0.0


class ScalingDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The number of workers, the reason, and all inputs of the decision."""

    workers: int
    reason: Reason
    want: int | None  # by the formula, before bands and guards
    limits: ScalingLimits
    before: AutoscalerState
    reading: ScalingReading | None

    def again(self) -> "ScalingDecision":
        """Repeat the decision: the result is equal unless another version of the code made it."""
        return decide_workers(self.limits, self.before, self.reading)[0]


def wanted_workers(limits: ScalingLimits, loads: tuple[QueueLoad, ...]) -> int:
    """Return the number of workers by the formula, within the limits."""
    slots = least = 0.0
    for load in loads:
        within_s = limits.bulk_within_s if load.objective_s is None else load.objective_s / 2
        busy = load.rate * load.service_s / limits.utilisation
        backlog = load.waiting * load.service_s / within_s
        own = max(load.floor, busy + backlog)
        if load.max_running is not None:  # more workers would not run more of its jobs at once
            own = min(own, load.max_running)
        if load.max_running_per_worker is not None:
            least = max(least, own / load.max_running_per_worker)
        if load.own_slots is None:
            slots += own
        else:
            least = max(least, own / load.own_slots)
    return _bounded(limits, math.ceil(max(slots / limits.slots, least) - 1e-9))


def decide_workers(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading | None
) -> tuple[ScalingDecision, AutoscalerState]:
    """Decide the number of workers; `reading` is None when the queues could not be read."""
    if reading is None:
        return _blind(limits, memory)
    want = wanted_workers(limits, reading.loads)
    then = _remember(limits, memory, reading, want)
    workers, reason, then = _judge(limits, then, reading, want)
    then = msgspec.structs.replace(then, workers=workers)
    decision = ScalingDecision(
        workers=workers, reason=reason, want=want, limits=limits, before=memory, reading=reading
    )
    return decision, then


def _judge(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading, want: int
) -> tuple[int, Reason, AutoscalerState]:
    now = _bounded(limits, reading.workers)
    if reading.deploying and not _is_late(limits, reading):
        return now, "deploying", memory
    if (enough := _saturated(limits, memory)) is not None:
        return enough, "saturated", _believe(limits, memory, reading, enough)
    if want > now and (want > limits.band_up * now or _is_late(limits, reading)):
        if reading.failed > limits.failing:
            return now, "failing", memory
        if memory.ceiling is not None and _holds(memory, reading):
            want = max(now, min(want, memory.ceiling))
        return want, ("grow" if want > now else "saturated"), memory
    least = _shrunk(limits, memory, reading, now)
    if least < now:
        return least, "shrink", msgspec.structs.replace(memory, shrunk_at=reading.at)
    return now, "steady", memory


def _shrunk(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading, now: int
) -> int:
    """Return the number of workers after shrinking; `now` when shrinking is not due."""
    most = max(want for _, want in memory.wants)
    since = reading.at if memory.since is None else memory.since
    rested = memory.shrunk_at is None or reading.at - memory.shrunk_at >= limits.shrink_every_s
    if most > limits.band_down * now or reading.at - since < limits.window_s or not rested:
        return now
    return _bounded(limits, max(most, now - max(1, int(now * limits.shrink_share))))


def _saturated(limits: ScalingLimits, memory: AutoscalerState) -> int | None:
    """Return the number of workers that did the same work, when 50 % more workers did not do more
    and the queue still grew; None otherwise.

    Jobs that only became longer are different: with more workers their queue shrinks.
    """
    last = memory.seen[-1]
    middle = [each for each in memory.seen if last.at - each.at >= limits.trial_s]
    first = [each for each in memory.seen if last.at - each.at >= 2 * limits.trial_s]
    if not first:
        return None
    before, between = first[-1], middle[-1]
    more = min(last.ready, between.ready) >= 1.5 * before.ready
    no_more_done = 0 < last.done < 1.1 * before.done
    grows = last.waiting > 0 and last.waiting >= max(before.waiting, between.waiting)
    return _bounded(limits, before.ready) if more and no_more_done and grows else None


def _believe(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading, enough: int
) -> AutoscalerState:
    return msgspec.structs.replace(
        memory,
        seen=(),
        ceiling=enough,
        ceiling_until=reading.at + limits.believe_s,
        ceiling_done=reading.done,
        shrunk_at=reading.at,
    )


def _holds(memory: AutoscalerState, reading: ScalingReading) -> bool:
    """Return whether a detected saturation still holds: not expired, and no more work is done."""
    return reading.at < memory.ceiling_until and reading.done < 1.5 * memory.ceiling_done


def _is_late(limits: ScalingLimits, reading: ScalingReading) -> bool:
    return any(
        load.objective_s is not None and load.oldest_s > limits.late * load.objective_s
        for load in reading.loads
    )


def _remember(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading, want: int
) -> AutoscalerState:
    now = PreviousReading(
        at=reading.at,
        ready=reading.workers - reading.starting,
        done=reading.done,
        waiting=sum(load.waiting for load in reading.loads),
    )
    wants = tuple(each for each in memory.wants if reading.at - each[0] <= limits.window_s)
    seen = tuple(each for each in memory.seen if reading.at - each.at <= 3 * limits.trial_s)
    return msgspec.structs.replace(
        memory,
        wants=(*wants, (reading.at, want)),
        since=reading.at if memory.since is None else memory.since,
        blind=0,
        seen=(*seen, now),
    )


def _blind(
    limits: ScalingLimits, memory: AutoscalerState
) -> tuple[ScalingDecision, AutoscalerState]:
    """Decide without a reading: keep the number; after several times, at least the fallback.

    The window starts again with the next reading, so that nothing shrinks on missing data.
    """
    blind = memory.blind + 1
    long = blind >= limits.blind_readings
    held = _bounded(limits, memory.workers)
    workers = max(held, _bounded(limits, limits.fallback)) if long else held
    decision = ScalingDecision(
        workers=workers,
        reason="fallback" if long else "blind",
        want=None,
        limits=limits,
        before=memory,
        reading=None,
    )
    then = msgspec.structs.replace(
        memory, workers=workers, blind=blind, since=None, wants=(), seen=()
    )
    return decision, then


def _bounded(limits: ScalingLimits, workers: int) -> int:
    return max(limits.least, min(limits.most, workers))
