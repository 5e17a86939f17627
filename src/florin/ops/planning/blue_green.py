"""Blue-green: the steps from the instances that serve to a full set of others. Pure.

All new instances start and are checked before one step switches every request to them. An
interrupted change is observed and planned again, like a rolling one.
"""

from collections.abc import Sequence

from florin.ops.planning.rollout import Crew, Goal, RolloutStep, Verb, plan_instances


def plan_switch(crew: Crew, goal: Goal, *, check: bool, keep: bool) -> tuple[RolloutStep, ...]:
    """Return the steps after which the goal's instances serve, and no others; none when reached.

    `check`: instances are checked at their own address before they get requests. `keep`: the other
    instances run on without requests; otherwise they are stopped.
    """
    there = {one.name: one for one in crew}
    fits = {name for name, one in there.items() if one.ready and goal.get(name) == one.mark}
    misfits = [name for name in goal if name in there and name not in fits]
    others = [one for one in crew if one.name not in misfits]
    if any(there[name].serves for name in misfits) and not any(one.serves for one in others):
        # Their names are in use by the only instances that serve: replace those one by one.
        return plan_instances(crew, goal, surge=True)
    fresh = [name for name in goal if name not in fits]
    serving = [name for name in goal if name not in fits or not there[name].held] or list(goal)
    waiting = [name for name in serving if name not in fits or not there[name].admitted]
    extra = [one for one in crew if one.name not in goal]
    steps = [*_each("drain", [name for name in misfits if there[name].admitted])]
    steps += _each("stop", misfits)
    for mark in dict.fromkeys(goal[name] for name in fresh):
        alike = tuple(name for name in fresh if goal[name] == mark)
        steps.append(RolloutStep("start", alike, mark))
    if check:
        steps += _each("check", waiting)
    if waiting or any(one.admitted for one in extra):
        steps += [*_each("switch", serving), *_each("watch", serving)]
    if not keep:
        steps += _each("stop", [one.name for one in extra])
    return tuple(steps)


def _each(verb: Verb, names: Sequence[str]) -> list[RolloutStep]:
    return [RolloutStep(verb, tuple(names))] if names else []
