"""The conditions: each fires in its case and not in the others."""

from pathlib import Path

import pytest

from florin.ops.alerting.alert_states import Alert, advance_alerts
from florin.ops.alerting.conditions import CONDITIONS, SYMPTOMS
from florin.ops.alerting.fleet_metrics import FleetMetrics
from tests.ops.alerting.cases import CASES, AlertCase
from tests.ops.alerting.series import add_step, read_series

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
BY_NAME = {each.name: each for each in CONDITIONS}


def play(case: AlertCase) -> list[Alert]:
    """Return the alerts after the last collection of the case."""
    series = [read_series(name, values) for name, values in case.series.items()]
    metrics, alerts = FleetMetrics(), list[Alert]()
    for step in range(case.steps):
        now = add_step(metrics, series, step)
        found = {each.name: each.find(metrics) for each in CONDITIONS}
        alerts = advance_alerts(alerts, found, CONDITIONS, now)
    return alerts


@pytest.mark.parametrize("name", CASES)
def test_a_condition_fires_in_its_case_and_no_other_does(name: str) -> None:
    case = CASES[name]
    firing = {(each.name, each.label) for each in play(case) if each.state == "firing"}
    assert firing == ({(case.alert, case.label)} if case.label is not None else set())


def test_there_are_ten_and_each_has_a_case_for_yes_and_one_for_no() -> None:
    assert len(CONDITIONS) == 10
    yes = {each.alert for each in CASES.values() if each.label is not None}
    no = {each.alert for each in CASES.values() if each.label is None}
    assert yes == no == set(BY_NAME)
    assert {name for names in SYMPTOMS.values() for name in names} | set(SYMPTOMS) <= set(BY_NAME)


def test_every_condition_has_a_runbook() -> None:
    assert all((RUNBOOKS / f"{each.runbook}.md").is_file() for each in CONDITIONS)


def test_without_metrics_nothing_fires() -> None:
    assert not any(each.find(FleetMetrics()) for each in CONDITIONS)
