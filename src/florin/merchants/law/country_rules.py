"""Country rules: the law on gift cards, by place and date, read from `country_rules.toml`.

A rule is data, not legal advice: docs/concepts/law.md has the sources and what is not covered.
"""

import tomllib
from collections.abc import Collection, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

RuleCheck = Literal[
    "minimum_months",
    "no_expiry",
    "no_fees",
    "cash_out",
    "maximum_value",
    "withdrawal_days",
    "one_supply",
]
EU = frozenset(
    (
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    )
)
_FILE = Path(__file__).with_name("country_rules.toml")


class CountryRule(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One rule of one place. `from_` and `until` are its first and last day. `value`: months, days
    or minor units of `currency`, by `check`. `confirmed`: whether its text was read.
    """

    id: str
    place: str
    from_: date = msgspec.field(name="from")
    until: date | None = None
    check: RuleCheck
    value: int = 0
    currency: str | None = None
    law: str
    source: str
    confirmed: bool


class RuleWarning(msgspec.Struct, kw_only=True, frozen=True):
    """A rule of a country that something does not keep, and where the rule is written."""

    rule: str
    source: str


class _RuleFile(msgspec.Struct, kw_only=True, frozen=True):
    checked_on: date
    rule: tuple[CountryRule, ...]


@cache
def read_country_rules() -> tuple[CountryRule, ...]:
    """All rules, of every date."""
    content = tomllib.loads(_FILE.read_text("utf-8"))
    return msgspec.convert(content, _RuleFile).rule


def covers_place(rule_place: str, place: str) -> bool:
    """Whether what is sold in `place` comes under the rules of `rule_place`. What is sold in a
    whole country comes under the rules of each of its subdivisions, too.
    """
    country = place.partition("-")[0]
    if rule_place == "EU":
        return place == "EU" or country in EU
    if place == "EU":
        return rule_place in EU
    return rule_place in {place, country} or rule_place.startswith(f"{place}-")


def rules_in_force(places: Collection[str], day: date, *checks: RuleCheck) -> Sequence[CountryRule]:
    """The rules of these kinds that are in force in any of the places on a day."""
    return [
        rule
        for rule in read_country_rules()
        if rule.check in checks
        and rule.from_ <= day
        and (rule.until is None or day <= rule.until)
        and any(covers_place(rule.place, place) for place in places)
    ]


def cash_out_limit(places: Collection[str], currency: str, day: date) -> int | None:
    """The highest balance, in minor units, that the law of any of the places lets a holder take in
    cash; None if there is no such law.
    """
    limits = [
        rule.value for rule in rules_in_force(places, day, "cash_out") if rule.currency == currency
    ]
    return max(limits, default=None)


def withdrawal_days(places: Collection[str], day: date) -> int | None:
    """For how many days a buyer may withdraw from a purchase; None if no law says so."""
    return max(
        (rule.value for rule in rules_in_force(places, day, "withdrawal_days")), default=None
    )
