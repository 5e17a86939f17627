"""The conditions agree with the rules of Prometheus: the same series are played to both."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from florin.ops.alerting.conditions import CONDITIONS
from tests.ops.alerting.cases import CASES
from tests.ops.alerting.series import EVERY_S

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules.yaml"
PROMTOOL = shutil.which("promtool")
NAMES = "|".join(each.name for each in CONDITIONS)


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
def test_prometheus_agrees_with_every_case(tmp_path: Path) -> None:
    """The same series, played to deploy/prometheus/rules.yaml by promtool."""
    assert PROMTOOL is not None
    tests: list[dict[str, Any]] = []
    for name, case in CASES.items():
        labels = f'{{alertname="{case.alert}"}}'
        tests.append(
            {
                "name": name,
                "interval": f"{EVERY_S:.0f}s",
                "input_series": [
                    {"series": series, "values": values} for series, values in case.series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": "count by (alertname) (ALERTS{alertstate='firing',"
                        f"alertname=~'{NAMES}'}})",
                        "eval_time": f"{(case.steps - 1) * EVERY_S:.0f}s",
                        "exp_samples": []
                        if case.label is None
                        else [{"labels": labels, "value": 1}],
                    }
                ],
            }
        )
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{EVERY_S:.0f}s",
        "tests": tests,
    }
    file = tmp_path / "cases.yaml"  # JSON is YAML, too
    file.write_text(json.dumps(document), "utf-8")
    said = subprocess.run(
        [PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_severities_durations_and_runbooks_are_those_of_the_rules() -> None:
    text = RULES.read_text("utf-8")
    for condition in CONDITIONS:
        rest = text.partition(f"- alert: {condition.name}\n")[2]
        rule = rest.partition("- alert: ")[0]
        assert rule, condition.name
        assert f"severity: {condition.severity}" in rule, condition.name
        assert f"runbooks/{condition.runbook}.md" in rule, condition.name
        assert _seconds(rule, "for") == condition.for_s, condition.name


def _seconds(rule: str, name: str) -> float:
    found = re.search(rf"^\s+{name}: (\d+)(s|m|h)$", rule, re.MULTILINE)
    return 0.0 if found is None else int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
