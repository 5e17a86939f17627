"""The law as data: each rule of each place, when a program is made and when it is changed."""

import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.countries import COUNTRIES
from florin.kit.currencies import CURRENCIES
from florin.kit.postgres.database import Database
from florin.merchants import programs
from florin.merchants.law import country_rules
from florin.merchants.law.country_rules import (
    CountryRule,
    cash_out_limit,
    covers_place,
    read_country_rules,
    withdrawal_days,
)
from florin.merchants.law.program_law import CardTerms, RuleViolated, find_violations
from florin.merchants.program import ProgramChange, ProgramRequest
from tests.support.api_calls import Json, made, post, problem, read
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import audited, client_of, member, register

RULES = read_country_rules()
TERMS = {"min_amount": 1, "max_amount": 10_000}
LAW_PAGE = Path(__file__).parents[2] / "docs/concepts/law.md"


def terms(place: str, currency: str = "USD", **more: Any) -> CardTerms:
    given: dict[str, Any] = {
        "max_amount": 1,
        "max_balance": None,
        "expires_after_months": None,
        "places": [place],
        **more,
    }
    return CardTerms(currency=currency, **given)


def violates(rule: CountryRule, day: date, **more: Any) -> bool:
    found = find_violations(terms(rule.place, rule.currency or "USD", **more), day)
    return rule.id in {each.id for each in found}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_holds_from_its_first_to_its_last_day(rule: CountryRule) -> None:
    first, before = rule.from_, rule.from_ - timedelta(days=1)
    match rule.check:
        case "minimum_months":
            assert violates(rule, first, expires_after_months=rule.value - 1)
            assert not violates(rule, first, expires_after_months=rule.value)
            assert not violates(rule, first)
            assert not violates(rule, before, expires_after_months=1)
        case "no_expiry":
            assert violates(rule, first, expires_after_months=1200)
            assert not violates(rule, first)
            assert not violates(rule, before, expires_after_months=1)
        case "maximum_value":
            assert violates(rule, first, max_amount=rule.value + 1)
            assert violates(rule, first, max_balance=rule.value + 1)
            assert not violates(rule, first, max_amount=rule.value)
            assert not violates(rule, before, max_amount=rule.value + 1)
        case "cash_out":
            assert rule.currency is not None
            assert cash_out_limit([rule.place], rule.currency, first) == rule.value
            others = [r for r in RULES if (r.place, r.check) == (rule.place, rule.check)]
            if rule is min(others, key=lambda each: each.from_):
                assert cash_out_limit([rule.place], rule.currency, before) is None
            if rule.until is not None:
                after = cash_out_limit([rule.place], rule.currency, rule.until + timedelta(days=1))
                assert after != rule.value
        case "withdrawal_days":
            assert withdrawal_days(["DE"], first) == withdrawal_days(["EU"], first) == rule.value
            assert withdrawal_days(["DE"], before) is None
            assert withdrawal_days(["US"], first) is None
        case "one_supply":
            assert violates(rule, first, places=["DE", "FR"], vat_country="DE")
            assert violates(rule, first, places=["FR"], vat_country="DE")
            assert violates(rule, first, places=["EU"], vat_country="DE")
            assert not violates(rule, first, places=["DE-BY"], vat_country="DE")
            assert not violates(rule, first, places=["DE", "FR"])
            assert not violates(rule, first, places=["US", "GB"], vat_country="GB")
            assert not violates(rule, before, places=["FR"], vat_country="DE")
        case "no_fees":
            # Nothing debits a card but what its holder, staff, a refund or its expiry does.
            assert not [name for name in ProgramRequest.__struct_fields__ if "fee" in name]


def test_the_table_is_complete_and_unambiguous() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES) > 30
    for rule in RULES:
        assert rule.place == "EU" or rule.place.partition("-")[0] in COUNTRIES, rule.id
        assert rule.source.startswith("https://"), rule.id
        assert (rule.check in {"cash_out", "maximum_value"}) == (rule.currency is not None)
        assert rule.currency is None or rule.currency in CURRENCIES
        valued = rule.check not in {"no_expiry", "no_fees", "one_supply"}
        assert valued == (rule.value > 0), rule.id
        assert rule.until is None or rule.until > rule.from_
    content = tomllib.loads(Path(country_rules.__file__).with_suffix(".toml").read_text("utf-8"))
    assert {rule.check for rule in RULES} == {each["check"] for each in content["rule"]}


def test_the_page_cites_every_rule() -> None:
    page = LAW_PAGE.read_text("utf-8")
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.place} |" in page, rule.id
        assert rule.source in page, rule.id
    assert "lawyer" in page


def test_what_is_sold_in_a_country_is_sold_in_all_of_it() -> None:
    assert covers_place("US", "US-CA")
    assert covers_place("US-CA", "US")
    assert not covers_place("US-CA", "US-NY")
    assert covers_place("EU", "DE")
    assert covers_place("DE", "EU")
    assert not covers_place("EU", "GB")
    assert cash_out_limit(["US"], "USD", date(2026, 3, 31)) == 999
    assert cash_out_limit(["US"], "USD", date(2026, 4, 1)) == 1499


async def test_outside_production_a_violation_is_a_warning(api: Instance, shop: Shop) -> None:
    async with client_of(api, **shop.headers) as http:
        await _check_warnings(http)


async def _check_warnings(http: httpx.AsyncClient) -> None:
    body: Json = {"name": "P", "currency": "EUR", "expires_after_months": 12, **TERMS}
    fine = await made(http, "/programs", body)
    assert (fine["places"], fine["warnings"]) == (["NL"], [])
    made_ = await made(http, "/programs", {**body, "places": ["IE", "DE"]})
    assert made_["places"] == ["DE", "IE"]
    by_id = {each["rule"]: each["source"] for each in made_["warnings"]}
    assert set(by_id) == {"ie-minimum-validity", "de-minimum-validity"}
    assert by_id["ie-minimum-validity"].startswith("https://www.irishstatutebook.ie/")
    assert await read(http, f"/programs/{made_['id']}") == made_
    answer = await http.patch(f"/programs/{made_['id']}", json={"expires_after_months": 48})
    assert [each["rule"] for each in answer.json()["warnings"]] == ["ie-minimum-validity"]
    answer = await http.patch(f"/programs/{made_['id']}", json={"places": ["NL"]})
    assert (answer.json()["places"], answer.json()["warnings"]) == (["NL"], [])


async def test_a_place_is_a_country_or_a_part_of_one(api: Instance, shop: Shop) -> None:
    body = {"name": "P", "currency": "EUR", **TERMS}
    async with client_of(api, **shop.headers) as http:
        for place in ("XX", "US-", "us", "Germany", "US-CALI"):
            answer = await post(http, "/programs", {**body, "places": [place]})
            found = problem(answer, 422, "invalid_request")
            assert found["param"].startswith("places"), found


async def test_production_refuses_what_the_law_does_not_allow(
    owner: Any, database: Database
) -> None:
    """Except for test merchants; a program of before the rule can be changed all the same."""
    shop = await make_shop(owner, database)
    request = ProgramRequest(
        name="P",
        currency="USD",
        min_amount=1,
        max_amount=10_000,
        expires_after_months=24,
        places=["US-CA", "US-NY"],
    )

    async def create(merchant: Any, **more: Any) -> str:
        program = ids.new_id()
        wanted = programs.ProgramRequest(
            **{name: getattr(request, name) for name in request.__struct_fields__} | more
        )
        async with database.transaction() as tx:
            await programs.create_program(tx, merchant, wanted, program=program, in_production=True)
        return ids.show_id("prg", program)

    with pytest.raises(RuleViolated) as refused:
        await create(shop.merchant)
    rules = [each["rule"] for each in refused.value.extra["rules"]]
    assert rules == ["us-minimum-validity", "us-ca-expiry", "us-ny-minimum-validity"]
    assert refused.value.extra["rule"] == rules[0]
    assert refused.value.param == "expires_after_months"
    assert "at least 60 months" in refused.value.detail
    with pytest.raises(RuleViolated, match="at most 200000"):
        await create(shop.merchant, expires_after_months=None, max_amount=200_001)
    kept = await create(shop.merchant, expires_after_months=None)
    accepted = await create(shop.merchant, override="only sold at events")
    found = await programs.find_program(database, shop.merchant, accepted)
    assert [each.rule for each in found.warnings] == rules

    async def change(program: str, **change: Any) -> programs.Program:
        by = programs.AuditActor(merchant=shop.merchant, actor="tests")
        asked = ProgramChange(**change)
        return await programs.change_program(database, by, program, asked, in_production=True)

    assert (await change(accepted, name="Q")).name == "Q"
    assert (await change(accepted, expires_after_months=36)).expires_after_months == 36
    with pytest.raises(RuleViolated):
        await change(kept, expires_after_months=120)
    assert (await change(kept, places=["AU"], expires_after_months=36)).warnings == []
    with pytest.raises(RuleViolated):
        await change(kept, places=["IE"])
    assert (await change(kept, places=["IE"], override="a pilot")).places == ["IE"]
    testing = await make_shop(owner, database, test=True)
    await create(testing.merchant)


async def test_only_an_owner_overrides_and_it_is_audited(api: Instance) -> None:
    async with client_of(api) as http:
        boss = await register(http)
        manager = await member(http, boss, "manager")
        body = {"name": "P", "currency": "EUR", "override": "sold once", **TERMS}
        refused = await http.post("/programs", json=body, headers=manager.headers)
        problem(refused, 403, "forbidden")
        answer = await http.post("/programs", json=body, headers=boss.headers)
        assert answer.status_code == 201, answer.text
        path = f"/programs/{answer.json()['id']}"
        change = {"name": "Q", "override": "again"}
        problem(await http.patch(path, json=change, headers=manager.headers), 403, "forbidden")
        assert (await http.patch(path, json=change, headers=boss.headers)).status_code == 200
        made_ = await audited(http, boss, action="program.created")
        assert made_[0]["after"]["override"] == "sold once"
        changed = await audited(http, boss, action="program.changed")
        assert changed[0]["after"] == change
