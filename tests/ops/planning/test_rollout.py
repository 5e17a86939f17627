"""Rollout: on random fleets no step leaves a gap, and every plan ends in the desired state."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florin.ops.planning.rollout import (
    Crew,
    ObservedProcess,
    ReleaseMark,
    RolloutStep,
    StepImpossible,
    apply_step,
    plan_instances,
    plan_workers,
)

OLD, NEW = ReleaseMark("r1", 1), ReleaseMark("r2", 2)
marks = st.builds(ReleaseMark, st.sampled_from(["r1", "r2"]), st.integers(1, 2))


@st.composite
def crews(draw: st.DrawFn) -> Crew:
    names = draw(st.sets(st.integers(1, 7), max_size=6))
    return tuple(
        ObservedProcess(
            name=f"api-{number}",
            mark=draw(marks),
            ready=draw(st.booleans()),
            admitted=draw(st.booleans()),
        )
        for number in sorted(names)
    )


@st.composite
def goals(draw: st.DrawFn) -> dict[str, ReleaseMark]:
    count = draw(st.integers(1, 5))
    return {f"api-{number}": draw(marks) for number in range(1, count + 1)}


def serving(crew: Crew) -> int:
    return sum(one.serves for one in crew)


def reached(crew: Crew, goal: dict[str, ReleaseMark]) -> bool:
    return {one.name: one.mark for one in crew} == goal and all(one.serves for one in crew)


def walk(
    crew: Crew, steps: tuple[RolloutStep, ...], goal: dict[str, ReleaseMark], batch: int
) -> list[Crew]:
    """Apply every step, and check the fleet after each."""
    seen = [crew]
    for step in steps:
        before, crew = crew, apply_step(crew, step)
        seen.append(crew)
        if serving(before):
            assert serving(crew) >= 1
        if step.verb == "drain":
            wanted = [one for one in before if one.name in step.names and one.name in goal]
            assert sum(one.serves for one in wanted) <= batch
    assert reached(crew, goal)
    return seen


@settings(max_examples=400, deadline=None)
@given(crews(), goals(), st.integers(1, 4), st.booleans())
def test_every_plan_keeps_one_serving_and_ends_in_the_desired_state(
    crew: Crew, goal: dict[str, ReleaseMark], batch: int, surge: bool
) -> None:
    walk(crew, plan_instances(crew, goal, batch=batch, surge=surge), goal, batch)


@settings(max_examples=400, deadline=None)
@given(crews(), goals(), st.integers(1, 4), st.booleans(), st.data())
def test_a_plan_interrupted_anywhere_is_finished_by_the_next(
    crew: Crew, goal: dict[str, ReleaseMark], batch: int, surge: bool, data: st.DataObject
) -> None:
    steps = plan_instances(crew, goal, batch=batch, surge=surge)
    if not steps:
        return
    number = data.draw(st.integers(0, len(steps) - 1))
    for step in steps[:number]:
        crew = apply_step(crew, step)
    step = steps[number]
    # The step is half done: for some of its instances only, and new parts may not answer yet.
    done = tuple(name for name in step.names if data.draw(st.booleans()))
    if done:
        crew = apply_step(crew, replace(step, names=done))
    if step.verb == "start":
        crew = tuple(
            replace(one, ready=data.draw(st.booleans())) if one.name in done else one
            for one in crew
        )
    back = data.draw(st.booleans())
    other = data.draw(goals()) if back else goal
    walk(crew, plan_instances(crew, other, batch=batch, surge=surge), other, batch)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_with_a_surge_capacity_never_decreases(count: int, batch: int) -> None:
    crew, goal = fleet(count), dict.fromkeys((f"api-{n}" for n in range(1, count + 1)), NEW)
    seen = walk(crew, plan_instances(crew, goal, batch=batch, surge=True), goal, batch)
    assert min(serving(crew) for crew in seen) == count
    assert max(len(crew) for crew in seen) == count + min(batch, count)


@given(crews(), goals(), st.integers(1, 4), st.booleans())
def test_parts_in_the_desired_state_are_not_changed(
    crew: Crew, goal: dict[str, ReleaseMark], batch: int, surge: bool
) -> None:
    for step in plan_instances(crew, goal, batch=batch, surge=surge):
        crew = apply_step(crew, step)
    assert plan_instances(crew, goal, batch=batch, surge=surge) == ()


def fleet(count: int, mark: ReleaseMark = OLD) -> Crew:
    return tuple(
        ObservedProcess(name=f"api-{number}", mark=mark, ready=True, admitted=True)
        for number in range(1, count + 1)
    )


def words(steps: tuple[RolloutStep, ...]) -> list[str]:
    return [str(step) for step in steps]


def test_a_deploy_has_the_documented_steps() -> None:
    goal = {"api-1": NEW, "api-2": NEW}
    assert words(plan_instances(fleet(2), goal, surge=True)) == [
        "start api-3 of r2",
        "admit api-3",
        "watch api-3",
        "drain api-1",
        "stop api-1",
        "start api-1 of r2",
        "admit api-1",
        "watch api-1",
        "drain api-2",
        "stop api-2",
        "start api-2 of r2",
        "admit api-2",
        "watch api-2",
        "drain api-3",
        "stop api-3",
    ]


def test_a_single_instance_is_replaced_while_it_restarts() -> None:
    steps = words(plan_instances(fleet(1), {"api-1": ReleaseMark("r1", 2)}))
    assert steps[:4] == ["start api-2 of r1", "admit api-2", "watch api-2", "drain api-1"]
    assert steps[-2:] == ["drain api-2", "stop api-2"]


def test_one_of_two_is_restarted_without_a_replacement() -> None:
    steps = words(plan_instances(fleet(2), {"api-1": ReleaseMark("r1", 2), "api-2": OLD}))
    assert steps[0] == "drain api-1"
    assert len(steps) == 5


def test_undoing_a_first_step_changes_no_other_part() -> None:
    crew = (*fleet(2), ObservedProcess(name="api-3", mark=NEW, ready=False, admitted=True))
    assert words(plan_instances(crew, {"api-1": OLD, "api-2": OLD})) == [
        "drain api-3",
        "stop api-3",
    ]


def test_a_part_that_the_operator_drained_returns_only_by_its_own_restart() -> None:
    first, second, third = fleet(3)
    crew = (first, replace(second, admitted=False, held=True), third)
    stay = {one.name: OLD for one in crew}
    assert plan_instances(crew, stay) == ()
    assert not any("api-2" in line for line in words(plan_instances(crew, stay | {"api-1": NEW})))
    assert words(plan_instances(crew, stay | {"api-2": NEW}))[:3] == [
        "stop api-2",
        "start api-2 of r2",
        "admit api-2",
    ]
    forgotten = (first, replace(second, admitted=False), third)  # a plan was interrupted
    assert words(plan_instances(forgotten, stay)) == ["admit api-2"]


@pytest.mark.parametrize(
    "step",
    [
        RolloutStep("drain", ("api-1", "api-2")),
        RolloutStep("stop", ("api-1",)),
        RolloutStep("start", ("api-1",), NEW),
        RolloutStep("admit", ("api-1",)),
        RolloutStep("watch", ("api-9",)),
    ],
)
def test_an_unsafe_step_is_refused(step: RolloutStep) -> None:
    with pytest.raises(StepImpossible):
        apply_step(fleet(2), step)


@given(crews(), st.dictionaries(st.integers(1, 7).map("api-{}".format), marks), st.integers(1, 3))
def test_every_plan_of_workers_ends_in_the_desired_state(
    crew: Crew, goal: dict[str, ReleaseMark], batch: int
) -> None:
    crew = tuple(replace(one, admitted=False) for one in crew)  # workers receive no requests
    fits = {one.name for one in crew if one.ready and goal.get(one.name) == one.mark}
    for step in plan_workers(crew, goal, batch=batch):
        assert not fits & set(step.names)  # a worker that fits is not changed
        assert step.verb in ("start", "stop")
        crew = apply_step(crew, step)
    assert {one.name: one.mark for one in crew} == goal
    assert all(one.ready for one in crew)
    assert not plan_workers(crew, goal, batch=batch)
