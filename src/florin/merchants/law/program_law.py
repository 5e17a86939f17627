"""Program law: whether the terms of a program keep the law of the places where it is sold."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from florin.kit.errors import Refusal
from florin.merchants.law.country_rules import CountryRule, RuleWarning, rules_in_force

_PARAMS = {"maximum_value": "max_amount", "one_supply": "vat"}


class RuleViolated(Refusal):
    """The law of a place where the program is sold does not allow this."""

    code = "rule_violated"
    status = 422


class CardTerms(NamedTuple):
    """What the law looks at. Amounts are in minor units of `currency`. `vat_country`: of
    single-purpose cards, where what they buy is supplied.
    """

    places: Sequence[str]
    currency: str
    max_amount: int
    max_balance: int | None
    expires_after_months: int | None
    vat_country: str | None = None


class LawScope(NamedTuple):
    """The day, and what follows from a violation. `enforced`: it is refused, not only shown: in
    production, except for test merchants. `override`: why an owner accepts it all the same.
    """

    day: date
    enforced: bool = False
    override: str | None = None


def find_violations(terms: CardTerms, day: date) -> list[CountryRule]:
    """The rules that cards of these terms would not keep. Florin charges no fees on cards, so that
    every rule about fees is kept.
    """
    months = terms.expires_after_months
    highest = max(terms.max_amount, terms.max_balance or 0)
    checks = ("minimum_months", "no_expiry", "maximum_value", "one_supply")
    return [
        rule
        for rule in rules_in_force(terms.places, day, *checks)
        if (rule.check == "minimum_months" and months is not None and months < rule.value)
        or (rule.check == "no_expiry" and months is not None)
        or (
            rule.check == "maximum_value"
            and rule.currency == terms.currency
            and highest > rule.value
        )
        or (rule.check == "one_supply" and _supplied_elsewhere(terms))
    ]


def _supplied_elsewhere(terms: CardTerms) -> bool:
    """Whether single-purpose cards are also sold outside of the one country of their supply: then
    its VAT may not be the one that is due.
    """
    country = terms.vat_country
    return country is not None and any(place.partition("-")[0] != country for place in terms.places)


def warnings_of(rules: Sequence[CountryRule]) -> list[RuleWarning]:
    return [RuleWarning(rule=rule.id, source=rule.source) for rule in rules]


def require_law(terms: CardTerms, scope: LawScope, *, before: CardTerms | None = None) -> None:
    """Raises RuleViolated where violations are refused and no owner overrides them. What violates a
    rule as it did `before` is not refused: it was accepted, or is older than the rule.
    """
    if not scope.enforced or scope.override is not None:
        return
    known: set[str] = set()
    if before is not None:
        known = {rule.id for rule in find_violations(before, scope.day)}
    broken = [rule for rule in find_violations(terms, scope.day) if rule.id not in known]
    if broken:
        first = broken[0]
        raise RuleViolated(
            f"{first.law} ({first.id}) does not allow this in {first.place}: {_remedy(first)},"
            " name other places, or let an owner give the reason as override",
            param=_PARAMS.get(first.check, "expires_after_months"),
            extra={
                "rule": first.id,
                "source": first.source,
                "rules": [{"rule": each.id, "source": each.source} for each in broken],
            },
        )


def _remedy(rule: CountryRule) -> str:
    if rule.check == "no_expiry":
        return "leave expires_after_months empty"
    if rule.check == "one_supply":
        return "give multi_purpose as the treatment of vat"
    if rule.check == "minimum_months":
        return f"give at least {rule.value} months, or none"
    return f"give at most {rule.value} as max_amount and max_balance"
