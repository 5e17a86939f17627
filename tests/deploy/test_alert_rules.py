"""Alert rules: complete, tested by promtool, on metrics that exist, with runbooks that exist."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import metric_families
from tests.support.monitoring import DEPLOY, RULES, load, program

ROOT = DEPLOY.parent
FOLDER = DEPLOY / "prometheus"
CASES = ("rules_test.yaml", "rules_slow_test.yaml")
SEVERITIES = {"page", "ticket", "none"}
# Metrics of other programs that the rules and dashboards use.
OTHERS = re.compile(r"haproxy_\w+|up|ALERTS")
_WORD = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()")
_NOISE = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|ignoring|group_left)\s*\([^)]*\)|\"[^\"]*\"")
_OPERATORS = {"and", "or", "unless", "offset", "bool", "e9", "on", "by", "group_left", "ignoring"}


def alerts() -> dict[str, Any]:
    groups = load(RULES)["groups"]
    found = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(found) == len({rule["alert"] for rule in found})
    return {rule["alert"]: rule for rule in found}


def recorded() -> set[str]:
    groups = load(RULES)["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def metric_names(expression: str) -> set[str]:
    """The names of metrics in an expression; functions are followed by a parenthesis."""
    words = _WORD.findall(_NOISE.sub(" ", expression))
    return {word for word in words if word not in _OPERATORS and not word[0].isdigit()}


def known_metrics() -> set[str]:
    found: set[str] = set()
    for family in metric_families.families():
        more = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found |= {family.name + suffix for suffix in more}
    return found


def test_every_alert_says_what_is_wrong_how_urgent_it_is_and_what_to_do() -> None:
    assert len(alerts()) >= 35
    for name, rule in alerts().items():
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in SEVERITIES, name
        assert rule["annotations"]["summary"][0].isupper() or "{{" in rule["annotations"]["summary"]
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), name
        assert rule["annotations"]["runbook"].startswith("docs/operations/runbooks/"), name


def test_rules_use_only_metrics_that_exist() -> None:
    known = known_metrics() | recorded()
    groups = load(RULES)["groups"]
    used = {
        name for group in groups for rule in group["rules"] for name in metric_names(rule["expr"])
    }
    assert len(used) > 50
    assert not {name for name in used - known if not OTHERS.fullmatch(name)}


def test_every_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for file in CASES:
        for case in load(FOLDER / file)["tests"]:
            for each in case["alert_rule_test"]:
                (fires if each.get("exp_alerts") else quiet).add(each["alertname"])
    assert fires == set(alerts())
    assert quiet == set(alerts()) - {"Watchdog"}  # which always fires


@pytest.mark.slow
@pytest.mark.parametrize("file", CASES)
def test_promtool_runs_the_cases(file: str) -> None:
    run_tool("promtool", "test", "rules", str(FOLDER / file))


@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("LedgerUnbalanced", "florin_ledger_unbalanced) > 0", "florin_ledger_unbalanced) > 1"),
        ("Overloaded", 'florin_refusals_total{code="overloaded"}[2m]', "florin_refusals_total[2m]"),
        ("NoWorker", "unless on () (max(florin_workers_wanted) == 0)", ""),
    ],
)
def test_the_cases_notice_a_changed_rule(alert: str, old: str, new: str, tmp_path: Path) -> None:
    text = RULES.read_text("utf-8")
    assert text.count(old) == 1
    (tmp_path / "rules.yaml").write_text(text.replace(old, new), "utf-8")
    cases = load(FOLDER / CASES[0])
    cases["tests"] = [
        each for each in cases["tests"] if each["alert_rule_test"][0]["alertname"] == alert
    ]
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases), "utf-8")
    argv = [program("promtool"), "test", "rules", str(tmp_path / "cases.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert alert in done.stdout + done.stderr


def test_promtool_accepts_rules_and_configuration() -> None:
    run_tool("promtool", "check", "rules", str(RULES))
    run_tool("promtool", "check", "config", str(FOLDER / "prometheus.yaml"))


def run_tool(name: str, *arguments: str) -> str:
    argv = [program(name), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
