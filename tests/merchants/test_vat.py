"""VAT of a program: its treatment, what contradicts it, and the VAT within a price."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florin.kit.http.body import AMOUNT_MAX
from florin.kit.postgres.database import Database
from florin.merchants import programs
from florin.merchants.law.program_law import RuleViolated
from florin.merchants.program import ProgramChange
from florin.merchants.vat import RATE_MAX, VatRequest, contained_vat
from tests.support.api_calls import made, post, problem, read
from tests.support.instance import Instance, Shop
from tests.support.members import audited, client_of, register

BODY = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 100_000}
MULTI = {"treatment": "multi_purpose", "country": None, "rate": None}
DUTCH = {"treatment": "single_purpose", "country": "NL", "rate": 2100}


@given(st.integers(0, AMOUNT_MAX), st.integers(0, RATE_MAX))
def test_the_vat_within_a_price_is_rounded_to_the_nearest_unit(gross: int, rate: int) -> None:
    exact = Fraction(gross * rate, 10_000 + rate)
    found = contained_vat(gross, rate)
    assert -Fraction(1, 2) < found - exact <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("gross", "rate", "vat"),
    [(11_900, 1900, 1900), (10_000, 1900, 1597), (3, 10_000, 2), (1, 10_000, 1), (500, 0, 0)],
)
def test_a_half_is_rounded_up(gross: int, rate: int, vat: int) -> None:
    assert contained_vat(gross, rate) == vat


async def test_a_program_is_multi_purpose_until_it_says_otherwise(
    api: Instance, shop: Shop
) -> None:
    async with client_of(api, **shop.headers) as http:
        program = await made(http, "/programs", BODY)
        assert (program["vat"], program["warnings"]) == (MULTI, [])
        path = f"/programs/{program['id']}"
        changed = (await http.patch(path, json={"vat": DUTCH})).json()
        assert (changed["vat"], changed["warnings"]) == (DUTCH, [])
        assert (await read(http, path))["vat"] == DUTCH
        assert (await http.patch(path, json={"name": "Q"})).json()["vat"] == DUTCH
        back = await http.patch(path, json={"vat": {"treatment": "multi_purpose"}})
        assert back.json()["vat"] == MULTI
        assert (await made(http, "/programs", {**BODY, "vat": DUTCH}))["vat"] == DUTCH


@pytest.mark.parametrize(
    ("vat", "param"),
    [
        ({"treatment": "single_purpose"}, "vat"),
        ({"treatment": "single_purpose", "country": "NL"}, "vat"),
        ({"treatment": "single_purpose", "rate": 2100}, "vat"),
        ({"treatment": "multi_purpose", "rate": 2100}, "vat"),
        ({"treatment": "multi_purpose", "country": "NL"}, "vat"),
        ({**DUTCH, "country": "XX"}, "vat.country"),
        ({**DUTCH, "country": "nl"}, "vat.country"),
        ({**DUTCH, "rate": -1}, "vat.rate"),
        ({**DUTCH, "rate": RATE_MAX + 1}, "vat.rate"),
        ({**DUTCH, "rate": 21.5}, "vat.rate"),
        ({"treatment": "reduced"}, "vat.treatment"),
        ({**DUTCH, "name": "x"}, "vat.name"),
    ],
)
async def test_one_country_and_one_rate_make_a_single_purpose(
    api: Instance, shop: Shop, vat: dict[str, Any], param: str
) -> None:
    path = f"/programs/{shop.program}"
    async with client_of(api, **shop.headers) as http:
        answer = await post(http, "/programs", {**BODY, "vat": vat})
        problem(answer, 422, "invalid_request", param=param)
        answer = await http.patch(path, json={"vat": vat})
        problem(answer, 422, "invalid_request", param=param)
        assert (await read(http, path))["vat"] == MULTI


async def test_single_purpose_cards_sold_in_other_countries_are_a_warning(
    api: Instance, shop: Shop
) -> None:
    """Article 30a: their place of supply and their VAT are known when they are issued."""
    body = {**BODY, "vat": DUTCH}
    async with client_of(api, **shop.headers) as http:
        assert (await made(http, "/programs", body))["warnings"] == []
        found = await made(http, "/programs", {**body, "places": ["NL", "BE"]})
        assert [each["rule"] for each in found["warnings"]] == ["eu-single-purpose"]
        assert "2016/1065" in found["warnings"][0]["source"]
        path = f"/programs/{found['id']}"
        answer = await http.patch(path, json={"vat": {"treatment": "multi_purpose"}})
        assert answer.json()["warnings"] == []


async def test_production_refuses_a_single_purpose_that_is_none(
    shop: Shop, database: Database
) -> None:
    by = programs.AuditActor(merchant=shop.merchant, actor="tests")

    async def change(**fields: Any) -> programs.Program:
        asked = ProgramChange(**fields)
        return await programs.change_program(database, by, shop.program, asked, in_production=True)

    single = VatRequest(treatment="single_purpose", country="NL", rate=2100)
    with pytest.raises(RuleViolated, match="multi_purpose") as refused:
        await change(vat=single, places=["NL", "DE"])
    assert (refused.value.param, refused.value.extra["rule"]) == ("vat", "eu-single-purpose")
    found = await change(vat=single, places=["NL", "DE"], override="redeemed in NL only")
    assert found.vat.country == "NL"


async def test_the_audit_log_has_the_treatment_before_and_after(api: Instance) -> None:
    async with client_of(api) as http:
        boss = await register(http)
        answer = await http.post("/programs", json={**BODY, "vat": DUTCH}, headers=boss.headers)
        path = f"/programs/{answer.json()['id']}"
        change = {"vat": {"treatment": "multi_purpose"}}
        assert (await http.patch(path, json=change, headers=boss.headers)).status_code == 200
        [made_] = await audited(http, boss, action="program.created")
        assert made_["after"]["vat"] == DUTCH
        [changed] = await audited(http, boss, action="program.changed")
        assert (changed["before"]["vat"], changed["after"]["vat"]) == (DUTCH, MULTI)
