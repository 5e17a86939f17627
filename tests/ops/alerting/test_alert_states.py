"""Alert states: pending, firing, resolved; symptoms; what is due to a receiver, and when again."""

import msgspec
import pytest

from florin.ops.alerting import delivery_plan as plan
from florin.ops.alerting.alert_states import Alert, AlertDelivery, advance_alerts, inhibited_keys
from florin.ops.alerting.conditions import CONDITIONS, Condition
from florin.ops.alerting.fleet_metrics import FleetMetrics

SLOW = Condition("Slow", "page", "overloaded", lambda _: {}, for_s=30, keep_s=60)
WRONG = Condition("Wrong", "page", "overloaded", lambda _: {})
BOTH = (SLOW, WRONG)


def states(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(each.key, each.state) for each in alerts]


def after(*evaluations: tuple[float, dict[str, dict[str, str]]]) -> list[Alert]:
    alerts = list[Alert]()
    for now, found in evaluations:
        alerts = advance_alerts(alerts, found, BOTH, now)
    return alerts


NO: dict[str, dict[str, str]] = {"Slow": {}, "Wrong": {}}
YES: dict[str, dict[str, str]] = {"Slow": {"": "slow"}, "Wrong": {}}


def test_an_alert_waits_fires_and_ends_only_after_a_while() -> None:
    assert states(after((0, YES))) == [("Slow", "pending")]
    assert states(after((0, YES), (29, YES))) == [("Slow", "pending")]
    assert states(after((0, YES), (30, YES))) == [("Slow", "firing")]
    assert states(after((0, YES), (30, YES), (60, NO))) == [("Slow", "firing")]
    assert states(after((0, YES), (30, YES), (91, NO))) == [("Slow", "resolved")]


def test_what_was_over_before_it_fired_leaves_nothing() -> None:
    assert after((0, YES), (20, NO)) == []
    assert states(after((0, YES), (20, NO), (40, YES))) == [("Slow", "pending")]


def test_an_alert_that_returns_is_a_new_one() -> None:
    alerts = after((0, YES), (30, YES), (91, NO), (100, YES), (130, YES))
    assert states(alerts) == [("Slow", "firing"), ("Slow", "resolved")]
    assert [each.since for each in alerts] == [100, 0]


def test_alerts_of_one_condition_are_told_apart_by_their_label() -> None:
    found = {"Slow": {}, "Wrong": {"a": "a is wrong", "b": "b is wrong"}}
    alerts = after((0, found), (10, {"Slow": {}, "Wrong": {"b": "b is wrong"}}))
    assert states(alerts) == [("Wrong/b", "firing"), ("Wrong/a", "resolved")]


def test_a_condition_without_metrics_keeps_its_alerts() -> None:
    assert states(after((0, YES), (30, YES), (500, {"Wrong": {}}))) == [("Slow", "firing")]


def test_a_symptom_is_named_while_its_cause_fires() -> None:
    names = {each.name: each for each in CONDITIONS}
    found = {name: {"": name} for name in ("DatabaseUnreachable", "InstancesDown", "DiskFull")}
    order = tuple(names.values())
    alerts = advance_alerts(advance_alerts([], found, order, 0), found, order, 100)
    assert {each.state for each in alerts} == {"firing"}
    assert inhibited_keys(alerts) == {"InstancesDown"}


FIRING = Alert(
    name="Slow", label="", severity="page", runbook="overloaded", summary="slow", state="firing",
    since=0, seen=0, fired=0,
)  # fmt: skip
RESOLVED = msgspec.structs.replace(FIRING, state="resolved", ended=50)


def due(
    alert: Alert, known: AlertDelivery, now: float = 100, receiver: str = "slack"
) -> str | None:
    alert = msgspec.structs.replace(alert, deliveries={receiver: known})
    return plan.due_notice(alert, receiver, now, muted=False)


def test_a_receiver_is_sent_an_alert_once_and_its_end_once() -> None:
    assert due(FIRING, AlertDelivery()) == "firing"
    assert due(FIRING, AlertDelivery(sent=90)) is None
    assert due(RESOLVED, AlertDelivery(sent=90)) == "ended"
    assert due(RESOLVED, AlertDelivery(sent=90, ended=95)) is None
    assert due(RESOLVED, AlertDelivery()) is None


def test_what_was_missed_is_one_message_and_wakes_no_one() -> None:
    assert due(RESOLVED, AlertDelivery(tries=2)) == "missed"
    assert due(RESOLVED, AlertDelivery(tries=2), receiver="pagerduty") is None


def test_a_ticket_wakes_no_one() -> None:
    ticket = msgspec.structs.replace(FIRING, severity="ticket")
    assert plan.due_notice(ticket, "pagerduty", 100, muted=False) is None
    assert plan.due_notice(ticket, "email", 100, muted=False) == "firing"


def test_a_silenced_alert_is_not_sent_but_its_end_is() -> None:
    assert plan.due_notice(FIRING, "slack", 100, muted=True) is None
    ended = msgspec.structs.replace(RESOLVED, deliveries={"slack": AlertDelivery(sent=90)})
    assert plan.due_notice(ended, "slack", 100, muted=True) == "ended"


def test_an_alert_is_repeated_with_growing_distances() -> None:
    hours = [plan.repeat_delay(n) / 3600 for n in range(7)]
    assert hours == [1, 2, 4, 8, 16, 24, 24]
    assert due(FIRING, AlertDelivery(sent=1), now=3600) is None
    assert due(FIRING, AlertDelivery(sent=1), now=3601) == "repeated"
    assert due(FIRING, AlertDelivery(sent=3600, repeats=1), now=3600 + 7199) is None


def test_a_failed_attempt_is_repeated_with_growing_distances() -> None:
    seconds = [plan.retry_delay(tries) for tries in range(1, 10)]
    assert seconds == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    failed = plan.after_failure(AlertDelivery(), "451", 100, wait_s=0)
    assert due(FIRING, failed, now=101) is None
    assert due(FIRING, failed, now=102) == "firing"
    assert plan.after_failure(AlertDelivery(), "429", 100, wait_s=30).due == 130


@pytest.mark.parametrize("kind", ["firing", "repeated", "ended", "missed"])
def test_success_clears_the_failures(kind: plan.Kind) -> None:
    before = AlertDelivery(sent=0, tries=4, due=999, error="451")
    known = plan.after_success(before, kind, 100)
    assert (known.tries, known.due, known.error) == (0, 0, "")
    assert bool(known.ended) == (kind in ("ended", "missed"))


def test_conditions_never_raise_without_metrics() -> None:
    assert [each.find(FleetMetrics()) for each in CONDITIONS] == [{}] * len(CONDITIONS)
