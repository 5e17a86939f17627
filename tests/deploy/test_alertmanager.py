"""Alertmanager's configuration: routes, secrets in files, and who silences whom for how long."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_alert_rules import alerts, run_tool
from tests.support.monitoring import DEPLOY, alertmanager_config, load

FILE = DEPLOY / "alertmanager" / "alertmanager.yaml"
NEVER_SILENCED = {"LedgerUnbalanced", "WriteMaybeLost", "TwoPrimaries", "Watchdog"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MATCHER = re.compile(r'alertname(=~?)"([^"]+)"')


def seconds(span: str | None) -> int:
    return int(span[:-1]) * _UNITS[span[-1]] if span else 0


def matched(matchers: list[str]) -> set[str]:
    """The alerts that the matchers of an inhibition select, which are by name."""
    [matcher] = matchers
    found = _MATCHER.fullmatch(matcher)
    assert found, matcher
    pattern = found[2] if found[1] == "=~" else re.escape(found[2])
    return {name for name in alerts() if re.fullmatch(pattern, name)}


def inhibitions() -> list[tuple[str, set[str]]]:
    found: list[tuple[str, set[str]]] = []
    for rule in load(FILE)["inhibit_rules"]:
        assert rule["equal"][0] == "env"
        [source] = matched(rule["source_matchers"])
        found.append((source, matched(rule["target_matchers"])))
    return found


def test_amtool_accepts_the_configuration(tmp_path: Path) -> None:
    config = alertmanager_config(tmp_path, "smtp.example.com:587", "https://heartbeat.example.com")
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(config), "utf-8")
    run_tool("amtool", "check-config", str(tmp_path / "alertmanager.yaml"))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=InstancesDown", "severity=page"), "pages"),
        (("alertname=JobsDead", "severity=ticket"), "tickets"),
        (("alertname=Watchdog", "severity=none"), "heartbeat"),
        (("alertname=OutageSymptoms", "severity=none"), "none"),
        (("alertname=SomethingNew",), "tickets"),
    ],
)
def test_alerts_go_by_severity(labels: tuple[str, ...], receiver: str) -> None:
    said = run_tool("amtool", "config", "routes", "test", f"--config.file={FILE}", *labels)
    assert said.strip() == receiver


def test_pages_reach_all_three_receivers_and_tickets_two() -> None:
    receivers = {each["name"]: each for each in load(FILE)["receivers"]}
    kinds = {"pagerduty_configs", "slack_configs", "email_configs"}
    assert receivers["pages"].keys() - {"name"} == kinds
    assert receivers["tickets"].keys() - {"name"} == kinds - {"pagerduty_configs"}


def test_secrets_are_in_files() -> None:
    text = FILE.read_text("utf-8")
    for secret in ("smtp_auth_password", "slack_api_url", "routing_key"):
        assert f"{secret}_file: /etc/alertmanager/secrets/" in text
        assert not re.search(rf"\b{secret}:", text)


@pytest.mark.slow
def test_an_alert_that_silences_another_fires_longer() -> None:
    """Otherwise the other one would be sent when the outage is over."""
    assert len(inhibitions()) >= 10
    for source, targets in inhibitions():
        assert targets, source
        own = seconds(alerts()[source].get("keep_firing_for"))
        for target in targets - {source}:
            kept = seconds(alerts()[target].get("keep_firing_for"))
            assert own > kept, (source, target)


@pytest.mark.slow
def test_symptoms_stay_silenced_while_their_windows_contain_the_outage() -> None:
    [(source, targets)] = [each for each in inhibitions() if each[0] == "OutageSymptoms"]
    own = seconds(alerts()[source]["keep_firing_for"])
    for target in targets:
        # Of conditions that must all hold, the shortest window ends first.
        conditions = re.split(r"\band\b", alerts()[target]["expr"])
        windows = [
            max(map(seconds, re.findall(r"(?:\[|ratio_rate)(\d+[smhd])", each)), default=0)
            for each in conditions
        ]
        needed = min(window for window in windows if window) if any(windows) else 0
        held = seconds(alerts()[target].get("for"))
        assert own > needed + seconds(alerts()[target].get("keep_firing_for")) or held >= needed, (
            target,
            needed,
        )


def test_nothing_silences_what_concerns_money() -> None:
    silenced: set[str] = set()
    for _, targets in inhibitions():
        silenced |= targets
    assert not silenced & NEVER_SILENCED
    assert {name for name, rule in alerts().items() if rule["labels"]["severity"] == "page"} > {
        "LedgerUnbalanced",
        "WriteMaybeLost",
    }


def test_names_in_inhibitions_exist() -> None:
    """A misspelt name would silence nothing."""
    for rule in load(FILE)["inhibit_rules"]:
        names: list[Any] = [
            word
            for matcher in (*rule["source_matchers"], *rule["target_matchers"])
            for word in matcher.partition('"')[2].rstrip('"').split("|")
        ]
        for name in names:
            assert any(re.fullmatch(name, alert) for alert in alerts()), name
