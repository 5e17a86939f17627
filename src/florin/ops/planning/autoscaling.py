"""Autoscaling: how many workers there should be: one pure function of what was read and remembered.

Little's law (L = λW) tells how many slots the arrivals keep busy before a queue has grown; the
backlog adds what empties it within half of its objective:

    slots = Σ over queues of  λ·S / u  +  B·S / T        workers = ⌈slots / slots a worker⌉

λ arrivals a second (the larger of two windows), S seconds a job takes, u the utilisation aimed at,
B jobs waiting, T half of the queue's objective. Growing is immediate, shrinking slow: a worker too
many costs little, a job too late breaks a promise. Everything that was considered is in the
decision, and `Decision.again` repeats it: a log of decisions can be replayed.
"""

import math
from typing import Literal

import msgspec

Reason = Literal[
    "steady",  # what runs is what is wanted, or near enough
    "grow",  # more is wanted than runs, or jobs wait too long
    "shrink",  # less was wanted for the whole window
    "blind",  # nothing could be read: what runs stays
    "fallback",  # nothing could be read for long: enough for a normal day
    "deploying",  # instances come and go for another reason
    "failing",  # jobs fail: more workers would only repeat them faster
    "saturated",  # more workers did not do more work: something behind them is the limit
]


class ScalingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows and promises. Times in seconds."""

    slots: int = 5  # jobs at once in a worker
    least: int = 1
    most: int = 20  # from the budget of connections
    fallback: int = 2
    utilisation: float = 0.7
    band_up: float = 1.15
    band_down: float = 0.85
    late: float = 0.1  # of a queue's objective: a wait beyond it grows at once
    window_s: float = 180.0
    shrink_every_s: float = 60.0
    shrink_share: float = 0.25
    failing: float = 0.2
    blind_readings: int = 3
    bulk_within_s: float = 600.0  # in which a queue without objective is emptied
    trial_s: float = 30.0  # how long more workers may take to show more work
    believe_s: float = 300.0  # how long saturation, once seen, is believed


class QueueLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, as it was read."""

    name: str
    waiting: int  # due now; what is delayed does not count
    oldest_s: float  # how long the oldest due job waits
    rate: float  # arrivals a second, the larger of the last 10 and the last 30 seconds
    service_s: float  # how long a job takes, smoothed
    objective_s: float | None = None  # within which a job should start; None for bulk work
    floor: float = 0.0  # slots this queue has, whatever comes
    at_once: int | None = None  # jobs that the whole fleet does at once
    here: int | None = None  # and one worker, of all its slots


class ScalingReading(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at `at` (seconds of any clock that only runs forward)."""

    at: float
    loads: tuple[QueueLoad, ...]
    workers: int  # that work, or will in a moment: those that start count, those that drain do not
    starting: int = 0  # of these
    done: float = 0.0  # jobs finished a second, over the last 30 seconds
    failed: float = 0.0  # share of the attempts of the last minute that failed
    deploying: bool = False


class PreviousReading(msgspec.Struct, frozen=True, kw_only=True):
    """What an earlier reading came to: the workers that worked, and what they got done."""

    at: float
    ready: int
    done: float
    waiting: int


class AutoscalerState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered from one decision to the next."""

    workers: int = 0
    wants: tuple[tuple[float, int], ...] = ()
    since: float | None = None  # the first reading: before a whole window nothing shrinks
    shrunk_at: float | None = None
    blind: int = 0
    seen: tuple[PreviousReading, ...] = ()  # the last two trials, oldest first
    ceiling: int | None = None  # believed to be enough until then, or until more gets done
    ceiling_until: float = 0.0
    ceiling_done: float = 0.0


class ScalingDecision(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers there should be, why, and everything it was decided from."""

    workers: int
    reason: Reason
    want: int | None  # by the formula, before bands and guards
    limits: ScalingLimits
    before: AutoscalerState
    reading: ScalingReading | None

    def again(self) -> "ScalingDecision":
        """Decide again from the same: equal to this, or the log was not written by this code."""
        return decide_workers(self.limits, self.before, self.reading)[0]


def wanted_workers(limits: ScalingLimits, loads: tuple[QueueLoad, ...]) -> int:
    """Return the workers that the formula asks for, within the limits."""
    slots = least = 0.0
    for load in loads:
        within_s = limits.bulk_within_s if load.objective_s is None else load.objective_s / 2
        busy = load.rate * load.service_s / limits.utilisation
        backlog = load.waiting * load.service_s / within_s
        own = max(load.floor, busy + backlog)
        if load.at_once is not None:  # more are not done at once, however many workers there are
            own = min(own, load.at_once)
        if load.here is not None:
            least = max(least, own / load.here)
        slots += own
    return _bounded(limits, math.ceil(max(slots / limits.slots, least) - 1e-9))


def decide_workers(
    limits: ScalingLimits, memory: AutoscalerState, reading: ScalingReading | None
) -> tuple[ScalingDecision, AutoscalerState]:
    """Decide how many workers there should be; `reading` is None when nothing could be read."""
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
    """How few workers are left after shrinking now: `now` when it is not due."""
    most = max(want for _, want in memory.wants)
    since = reading.at if memory.since is None else memory.since
    rested = memory.shrunk_at is None or reading.at - memory.shrunk_at >= limits.shrink_every_s
    if most > limits.band_down * now or reading.at - since < limits.window_s or not rested:
        return now
    return _bounded(limits, max(most, now - max(1, int(now * limits.shrink_share))))


def _saturated(limits: ScalingLimits, memory: AutoscalerState) -> int | None:
    """How many workers did as much, when half as many more did no more and the queue still grew.

    Jobs that merely became longer need more workers to get as much done: their queue shrinks.
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
    """What was the limit still is: nothing says that more gets done than then."""
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
    """Nothing can be read: hold what there is; for longer, at least what a normal day needs.

    The window begins again when sight returns: nothing shrinks on what was not seen.
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
