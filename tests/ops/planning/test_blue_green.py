"""Blue-green: on random fleets one step switches everything, and no step leaves a gap."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from florin.ops.planning.blue_green import plan_switch
from florin.ops.planning.rollout import (
    Crew,
    ObservedProcess,
    ReleaseMark,
    RolloutStep,
    apply_step,
)

OLD, NEW = ReleaseMark("r1", 1), ReleaseMark("r2", 2)
marks = st.sampled_from([OLD, NEW])
names = st.sampled_from(["api", "api-green"])


@st.composite
def crews(draw: st.DrawFn) -> Crew:
    found = draw(st.sets(st.tuples(names, st.integers(1, 4)), max_size=8))
    return tuple(
        ObservedProcess(
            name=f"{stem}-{number}",
            mark=draw(marks),
            ready=draw(st.booleans()),
            admitted=draw(st.booleans()),
            held=draw(st.sampled_from([False, False, False, True])),
        )
        for stem, number in sorted(found)
    )


@st.composite
def goals(draw: st.DrawFn) -> dict[str, ReleaseMark]:
    stem, mark = draw(names), draw(marks)
    return {f"{stem}-{n}": mark for n in range(1, draw(st.integers(1, 4)) + 1)}


def serving(crew: Crew) -> int:
    return sum(one.serves for one in crew)


def walk(crew: Crew, steps: tuple[RolloutStep, ...], goal: dict[str, ReleaseMark]) -> Crew:
    """Apply every step, and check that an instance serves after each."""
    for step in steps:
        before, crew = crew, apply_step(crew, step)
        if serving(before):
            assert serving(crew) >= 1, step
    admitted = [one for one in crew if one.admitted]
    assert admitted
    assert {one.name for one in admitted} <= set(goal)
    assert {one.name: one.mark for one in crew if one.name in goal} == goal
    return crew


@settings(max_examples=500, deadline=None)
@given(crews(), goals(), st.booleans(), st.booleans())
def test_every_plan_keeps_one_serving_and_ends_with_the_goal_alone(
    crew: Crew, goal: dict[str, ReleaseMark], check: bool, keep: bool
) -> None:
    after = walk(crew, plan_switch(crew, goal, check=check, keep=keep), goal)
    if not keep:
        assert {one.name for one in after} == set(goal)
    assert plan_switch(after, goal, check=check, keep=keep) == ()


@settings(max_examples=500, deadline=None)
@given(crews(), goals(), st.booleans(), st.data())
def test_a_switch_interrupted_anywhere_is_finished_or_undone_by_the_next_plan(
    crew: Crew, goal: dict[str, ReleaseMark], keep: bool, data: st.DataObject
) -> None:
    steps = plan_switch(crew, goal, check=True, keep=keep)
    if not steps:
        return
    number = data.draw(st.integers(0, len(steps) - 1))
    for step in steps[:number]:
        crew = apply_step(crew, step)
    step = steps[number]
    if step.verb == "start":  # of some, and they may not answer yet
        done = tuple(name for name in step.names if data.draw(st.booleans()))
        crew = apply_step(crew, replace(step, names=done)) if done else crew
        crew = tuple(
            replace(one, ready=data.draw(st.booleans())) if one.name in done else one
            for one in crew
        )
    other = data.draw(goals()) if data.draw(st.booleans()) else goal
    walk(crew, plan_switch(crew, other, check=True, keep=keep), other)


@given(st.integers(1, 4), st.booleans())
def test_capacity_never_decreases_and_nothing_is_switched_before_its_check(
    count: int, keep: bool
) -> None:
    crew = fleet("api", count, OLD)
    goal = {f"api-green-{n}": NEW for n in range(1, count + 1)}
    checked, switches = set[str](), 0
    for step in plan_switch(crew, goal, check=True, keep=keep):
        crew = apply_step(crew, step)
        assert serving(crew) == count
        if step.verb == "check":
            checked |= set(step.names)
        if step.verb == "switch":
            switches += 1
            assert set(step.names) == checked == set(goal)
    assert switches == 1


def fleet(stem: str, count: int, mark: ReleaseMark, *, admitted: bool = True) -> Crew:
    return tuple(
        ObservedProcess(name=f"{stem}-{n}", mark=mark, ready=True, admitted=admitted)
        for n in range(1, count + 1)
    )


def words(steps: tuple[RolloutStep, ...]) -> list[str]:
    return [str(step) for step in steps]


def test_a_deployment_has_the_documented_steps() -> None:
    goal = {"api-green-1": NEW, "api-green-2": NEW}
    assert words(plan_switch(fleet("api", 2, OLD), goal, check=True, keep=True)) == [
        "start api-green-1, api-green-2 of r2",
        "check api-green-1, api-green-2",
        "switch to api-green-1, api-green-2",
        "watch api-green-1, api-green-2",
    ]


def test_a_flip_back_starts_and_checks_nothing() -> None:
    crew = (*fleet("api", 2, OLD, admitted=False), *fleet("api-green", 2, NEW))
    goal = {"api-1": OLD, "api-2": OLD}
    assert words(plan_switch(crew, goal, check=False, keep=True)) == [
        "switch to api-1, api-2",
        "watch api-1, api-2",
    ]


def test_an_undo_before_the_switch_only_stops_the_new_instances() -> None:
    crew = (*fleet("api", 2, OLD), *fleet("api-green", 1, NEW, admitted=False))
    goal = {"api-1": OLD, "api-2": OLD}
    assert words(plan_switch(crew, goal, check=False, keep=False)) == ["stop api-green-1"]


def test_an_instance_that_an_operator_drained_stays_out() -> None:
    one, two = fleet("api", 2, OLD)
    crew = (one, replace(two, admitted=False, held=True), *fleet("api-green", 2, NEW))
    goal = {"api-1": OLD, "api-2": OLD}
    assert "switch to api-1" in words(plan_switch(crew, goal, check=False, keep=False))
