"""Autoscaling: the function that decides the number of workers."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florin.bench.autoscale.main import compare_policies
from florin.bench.autoscale.traces import TRACES
from florin.ops.autoscaling.queue_reading import OWN_SLOTS
from florin.ops.planning.autoscaling import (
    AutoscalerState,
    QueueLoad,
    ScalingDecision,
    ScalingLimits,
    ScalingReading,
    decide_workers,
    wanted_workers,
)
from florin.worker import PLAN

LIMITS = ScalingLimits(slots=5, least=1, most=20)

loads = st.builds(
    QueueLoad,
    name=st.just("q"),
    waiting=st.integers(0, 100_000),
    oldest_s=st.floats(0, 1_000),
    rate=st.floats(0, 1_000),
    service_s=st.floats(0.001, 100),
    objective_s=st.sampled_from([None, 10.0, 60.0]),
    floor=st.sampled_from([0.0, 2.0]),
    max_running=st.sampled_from([None, 4]),
    max_running_per_worker=st.sampled_from([None, 2]),
)


@st.composite
def readings(draw: st.DrawFn) -> list[ScalingReading | None]:
    found: list[ScalingReading | None] = []
    for n in range(draw(st.integers(1, 40))):
        if draw(st.integers(0, 9)) == 0:
            found.append(None)
            continue
        workers = draw(st.integers(0, 25))
        found.append(
            ScalingReading(
                at=5.0 * n,
                loads=tuple(draw(st.lists(loads, max_size=3))),
                workers=workers,
                starting=draw(st.integers(0, workers)),
                done=draw(st.floats(0, 500)),
                failed=draw(st.sampled_from([0.0, 0.1, 0.5])),
                deploying=draw(st.booleans()),
            )
        )
    return found


def play(
    seen: list[ScalingReading | None], limits: ScalingLimits = LIMITS
) -> list[ScalingDecision]:
    memory, made = AutoscalerState(workers=2), list[ScalingDecision]()
    for reading in seen:
        decision, memory = decide_workers(limits, memory, reading)
        made.append(decision)
    return made


def load(*, waiting: int = 0, rate: float = 0.0, oldest_s: float = 0.0) -> QueueLoad:
    return QueueLoad(
        name="q", waiting=waiting, oldest_s=oldest_s, rate=rate, service_s=0.5, objective_s=10.0
    )


def reading(at: float, workers: int, *, done: float = 0.0, **more: float) -> ScalingReading:
    return ScalingReading(at=at, loads=(load(**more),), workers=workers, done=done)  # pyright: ignore[reportArgumentType]


@settings(max_examples=200, deadline=None)
@given(readings())
def test_a_decision_keeps_to_the_limits_and_can_be_replayed_from_its_log(
    seen: list[ScalingReading | None],
) -> None:
    for decision in play(seen):
        assert LIMITS.least <= decision.workers <= LIMITS.most
        written = msgspec.json.encode(decision)
        read = msgspec.json.decode(written, type=ScalingDecision)
        assert read.again() == read == decision


@settings(max_examples=200, deadline=None)
@given(readings())
def test_it_shrinks_slowly_and_never_below_the_maximum_of_the_window(
    seen: list[ScalingReading | None],
) -> None:
    last: float | None = None
    for decision in play(seen):
        now = decision.reading
        if decision.reason != "shrink":
            continue
        assert now is not None
        assert decision.workers >= 0.75 * now.workers - 1
        recent = [want for at, want in decision.before.wants if now.at - at <= LIMITS.window_s]
        assert decision.workers >= min(now.workers, max([*recent, 0]))
        assert last is None or now.at - last >= LIMITS.shrink_every_s
        last = now.at


def test_arrivals_add_workers_before_a_queue_grows() -> None:
    # 35/s · 0.5 s / 0.7 = 25 slots
    assert wanted_workers(LIMITS, (load(rate=35),)) == 5


def test_a_queue_with_few_slots_per_worker_needs_more_workers() -> None:
    """But not more than the whole fleet can run at once."""
    busy = QueueLoad(name="bulk", waiting=0, oldest_s=0, rate=15, service_s=0.13)  # 2.8 slots
    assert wanted_workers(LIMITS, (busy,)) == 1
    assert wanted_workers(LIMITS, (msgspec.structs.replace(busy, max_running_per_worker=2),)) == 2
    busier = msgspec.structs.replace(busy, rate=150, max_running_per_worker=2)
    assert wanted_workers(LIMITS, (busier,)) == 14
    assert wanted_workers(LIMITS, (msgspec.structs.replace(busier, max_running=4),)) == 2


def test_a_queue_with_own_slots_takes_none_of_the_shared_ones() -> None:
    mails = QueueLoad(name="m", waiting=0, oldest_s=0, rate=20, service_s=1.12, own_slots=16)
    assert wanted_workers(LIMITS, (mails,)) == 2  # 32 slots
    assert wanted_workers(LIMITS, (mails, load(rate=14))) == 2  # and 10 shared ones
    assert wanted_workers(LIMITS, (mails, load(rate=35))) == 5


def test_the_own_slots_are_those_of_the_workers() -> None:
    assert {each.name: each.own_slots for each in PLAN.queues if each.own_slots} == OWN_SLOTS


def test_a_backlog_is_planned_to_clear_within_half_of_the_objective() -> None:
    # 500 · 0.5 s / 5 s = 50 slots
    assert wanted_workers(LIMITS, (load(waiting=500),)) == 10


def test_it_grows_at_once_and_waits_a_whole_window_before_it_shrinks() -> None:
    seen: list[ScalingReading | None] = [reading(0, 2, rate=35.0)]
    seen += [reading(5.0 * n, 5) for n in range(1, 60)]
    made = play(seen)
    assert (made[0].reason, made[0].workers) == ("grow", 5)
    first = next(decision for decision in made if decision.reason == "shrink")
    assert first.reading is not None
    assert first.reading.at >= LIMITS.window_s
    assert first.workers == 4


def test_without_metrics_it_holds_and_then_returns_to_the_normal_number() -> None:
    limits = ScalingLimits(slots=5, fallback=4)
    made = play([reading(0, 2), None, None, None, None], limits)
    assert [d.reason for d in made] == ["steady", "blind", "blind", "fallback", "fallback"]
    assert [d.workers for d in made] == [2, 2, 2, 4, 4]


def test_failing_jobs_do_not_add_workers() -> None:
    asked = msgspec.structs.replace(reading(0, 2, waiting=10_000, oldest_s=60.0), failed=0.5)
    (decision,) = play([asked])
    assert (decision.reason, decision.workers) == ("failing", 2)


def test_a_deploy_is_not_disturbed_unless_jobs_are_late() -> None:
    calm = msgspec.structs.replace(reading(0, 2, rate=100.0), deploying=True)
    late = msgspec.structs.replace(reading(0, 2, rate=100.0, oldest_s=5.0), deploying=True)
    assert play([calm])[0].reason == "deploying"
    assert play([late])[0].reason == "grow"


def test_workers_that_do_not_add_throughput_are_removed() -> None:
    seen: list[ScalingReading | None] = [
        reading(5.0 * n, 4 if n < 4 else 12, waiting=100 + 20 * n, oldest_s=30.0, done=10.0)
        for n in range(30)
    ]
    saturated = next(decision for decision in play(seen) if decision.reason == "saturated")
    assert saturated.workers == 4
    # The same growth with a shrinking queue: the workers were needed.
    useful: list[ScalingReading | None] = [
        reading(5.0 * n, 4 if n < 4 else 12, waiting=1000 - 20 * n, oldest_s=30.0, done=10.0)
        for n in range(30)
    ]
    assert "saturated" not in [decision.reason for decision in play(useful)]


@pytest.mark.slow
def test_it_meets_its_target_on_the_traces_at_a_bounded_cost() -> None:
    """The two figures of `florin bench autoscale` that have a target."""
    by_name = {trace.name: trace for trace in TRACES}
    for name, cost in (("flash", 2.2), ("day", 1.4)):
        ours, hpa, _, fixed = compare_policies(by_name[name], seed=1, seeds=1)
        assert ours.within >= 0.995
        assert ours.within >= max(hpa.within, fixed.within)
        assert ours.worker_hours <= cost * ours.ideal_hours
        assert ours.flips / 1.5 <= 4
        assert ours.unfinished == 0
