"""Rollout: the steps from the observed to the wanted instances, without an interruption. Pure.

Scaling, restarting, deploying and rolling back are the same function with different goals. An
interrupted change is observed and planned again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Verb = Literal["start", "check", "admit", "switch", "watch", "drain", "stop"]


@dataclass(frozen=True, slots=True, order=True)
class ReleaseMark:
    """The release and the deployment of it that an instance was started from.

    Two deployments of one release differ, so that deploying the same release replaces instances.
    """

    release: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProcess:
    """One process as it was observed."""

    name: str
    mark: ReleaseMark
    ready: bool  # it can answer requests
    admitted: bool  # the balancer sends it requests
    held: bool = False  # an operator drained it: only a replacement serves again

    @property
    def serves(self) -> bool:
        return self.ready and self.admitted


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """One action on some instances; `mark` is what `start` starts."""

    verb: Verb
    names: tuple[str, ...]
    mark: ReleaseMark | None = None

    def __str__(self) -> str:
        release = f" of {self.mark.release}" if self.mark is not None else ""
        verb = "switch to" if self.verb == "switch" else self.verb
        return f"{verb} {', '.join(self.names)}{release}"


Crew = tuple[ObservedProcess, ...]  # the running processes
Goal = Mapping[str, ReleaseMark]  # by name, in the order in which they are replaced


def plan_instances(
    crew: Crew, goal: Goal, *, batch: int = 1, surge: bool = False
) -> tuple[RolloutStep, ...]:
    """Return the steps to the goal; none when it is reached.

    At most `batch` serving instances are out at a time, and at least one always serves. With
    `surge` as many additional instances start first: they are the first of a new release to get
    requests, and capacity does not drop. Without it that happens only if no other instance serves.
    """
    there = {instance.name: instance for instance in crew}
    fits = {name for name, one in there.items() if one.ready and goal.get(name) == one.mark}
    broken = [name for name in goal if name in there and not there[name].ready]
    steps = [
        *_each("admit", [name for name in goal if name in fits and _waits(there[name])]),
        *_each("drain", [name for name in broken if there[name].admitted]),
        *_each("stop", broken),
        *_launch([name for name in goal if name not in there or name in broken], goal),
    ]
    stale = [name for name in goal if name in there and name not in fits and name not in broken]
    extra = [instance for instance in crew if instance.name not in goal]
    if stale:
        serving = sum(one.serves for one in crew) + sum(len(s.names) for s in steps if _adds(s))
        spares, size = _spares(extra, serving, len(stale), batch, surge)
        idle = [one.name for one in extra if one.ready and _waits(one)][:spares]
        steps += _each("admit", idle)
        mark = goal[stale[-1]]
        fresh = _names(there, goal, spares - len(idle))
        steps += _launch(fresh, dict.fromkeys(fresh, mark))
        for start in range(0, len(stale), size):
            chunk = stale[start : start + size]
            steps += _each("drain", [name for name in chunk if there[name].admitted])
            steps += [*_each("stop", chunk), *_launch(chunk, goal)]
        drained = [*(one.name for one in extra if one.admitted), *idle, *fresh]
        stopped = [*(one.name for one in extra), *fresh]
    else:
        drained = [one.name for one in extra if one.admitted]
        stopped = [one.name for one in extra]
    return (*steps, *_each("drain", drained), *_each("stop", stopped))


def plan_workers(crew: Crew, goal: Goal, *, batch: int = 1) -> tuple[RolloutStep, ...]:
    """Return the steps for workers: no spare replaces a worker meanwhile, its queue waits.

    A worker that stops finishes its jobs first.
    """
    there = {instance.name: instance for instance in crew}
    broken = [name for name in goal if name in there and not there[name].ready]
    missing = [name for name in goal if name not in there or name in broken]
    stale = [name for name in goal if name in there and there[name].mark != goal[name]]
    stale = [name for name in stale if name not in broken]
    steps = [*_each("stop", broken), *_start(missing, goal)]
    for first in range(0, len(stale), batch):
        chunk = stale[first : first + batch]
        steps += [*_each("stop", chunk), *_start(chunk, goal)]
    return (*steps, *_each("stop", [one.name for one in crew if one.name not in goal]))


def _start(names: Sequence[str], goal: Goal) -> Iterator[RolloutStep]:
    for mark in dict.fromkeys(goal[name] for name in names):
        yield RolloutStep("start", tuple(name for name in names if goal[name] == mark), mark)


def _spares(
    extra: Sequence[ObservedProcess], serving: int, stale: int, batch: int, surge: bool
) -> tuple[int, int]:
    """Return how many additional instances must serve, and how many may be out at once."""
    helping = sum(one.serves for one in extra)  # they stop last and serve until then
    size = min(batch, stale)
    if surge:
        return max(0, size - helping), size
    size = max(1, min(size, serving - 1))
    return (max(0, 1 + size - serving) if serving else 0), size


def _names(there: Mapping[str, ObservedProcess], goal: Goal, count: int) -> list[str]:
    taken = {*there, *goal}
    stem = next(iter(goal)).rpartition("-")[0]
    free = (f"{stem}-{number}" for number in range(1, len(taken) + count + 1))
    return [name for name in free if name not in taken][:count]


def _waits(one: ObservedProcess) -> bool:
    return not one.admitted and not one.held


def _adds(step: RolloutStep) -> bool:
    return step.verb == "admit"


def _each(verb: Verb, names: Sequence[str]) -> Iterator[RolloutStep]:
    if names:
        yield RolloutStep(verb, tuple(names))


def _launch(names: Sequence[str], goal: Goal) -> Iterator[RolloutStep]:
    """Return the steps start, admit and watch, for all instances of one mark together."""
    for mark in dict.fromkeys(goal[name] for name in names):
        alike = tuple(name for name in names if goal[name] == mark)
        yield RolloutStep("start", alike, mark)
        yield RolloutStep("admit", alike)
        yield RolloutStep("watch", alike)


class StepImpossible(Exception):
    """A step whose precondition does not hold."""


def apply_step(crew: Crew, step: RolloutStep) -> Crew:
    """Return the processes after the step. Raises StepImpossible where it must not be taken."""
    _require(crew, step)
    if step.verb == "start":
        assert step.mark is not None
        mark = step.mark
        return (
            *crew,
            *(
                ObservedProcess(name=name, mark=mark, ready=True, admitted=False)
                for name in step.names
            ),
        )
    if step.verb == "stop":
        return tuple(one for one in crew if one.name not in step.names)
    if step.verb in ("watch", "check"):
        return crew
    if step.verb == "switch":
        return tuple(replace(one, admitted=one.name in step.names) for one in crew)
    inside = step.verb == "admit"
    return tuple(replace(one, admitted=inside) if one.name in step.names else one for one in crew)


def _require(crew: Crew, step: RolloutStep) -> None:
    chosen = [one for one in crew if one.name in step.names]
    others = [one for one in crew if one.name not in step.names]
    if len(chosen) != (0 if step.verb == "start" else len(step.names)):
        raise StepImpossible(f"{step}: already running, or not running at all")
    if step.verb == "stop" and any(one.admitted for one in chosen):
        raise StepImpossible(f"{step}: not drained")
    if step.verb == "watch" and not all(one.serves for one in chosen):
        raise StepImpossible(f"{step}: does not serve")
    if step.verb in ("check", "switch") and not all(one.ready for one in chosen):
        raise StepImpossible(f"{step}: not ready")
    if step.verb == "admit" and not all(one.ready and not one.admitted for one in chosen):
        raise StepImpossible(f"{step}: not ready, or already admitted")
    if step.verb == "drain":
        if not all(one.admitted for one in chosen):
            raise StepImpossible(f"{step}: already drained")
        if any(one.serves for one in chosen) and not any(one.serves for one in others):
            raise StepImpossible(f"{step}: no serving instance would be left")
