"""Timing model: its inequalities, and that its numbers stand nowhere else."""

from dataclasses import fields, replace

import pytest

from florin.kit.http import drain
from florin.kit.settings import Settings
from florin.ops.fleet.timing import DEFAULT, RULES, Timing, TimingRule, timing_violations


def test_the_defaults_violate_no_rule() -> None:
    assert timing_violations(DEFAULT) == []


@pytest.mark.parametrize("rule", RULES, ids=[rule.says for rule in RULES])
def test_every_rule_can_fail_and_names_what_it_prevents(rule: TimingRule) -> None:
    """A rule that no numbers violate would protect against nothing."""
    broken = [
        name
        for field in fields(Timing)
        for factor in (0, 0.1, 20)
        if (name := field.name)
        and any(
            rule.says in violation
            for violation in timing_violations(
                replace(DEFAULT, **{name: getattr(DEFAULT, name) * factor or 1})
            )
        )
    ]
    assert broken
    assert rule.prevents


def test_the_keep_alive_inversion_is_named() -> None:
    violations = timing_violations(replace(DEFAULT, app_idle_s=5))
    assert any("growthbook-proxy#135" in line for line in violations)


def test_settings_default_to_the_model() -> None:
    """`florin api` without a fleet drains like one in a fleet."""
    defaults = {
        str(field.validation_alias): field.default for field in Settings.model_fields.values()
    }
    for name, value in DEFAULT.environ().items():
        assert defaults[name] == float(value), name


def test_a_settings_value_is_passed_exactly() -> None:
    environ = replace(DEFAULT, drain_s=0.25, app_idle_s=1.5).environ()
    assert (environ["FLORIN_DRAIN_S"], environ["FLORIN_IDLE_S"]) == ("0.25", "1.5")


def test_the_quiet_period_equals_that_of_the_drain() -> None:
    assert DEFAULT.drain_quiet_s == drain.QUIET_S
