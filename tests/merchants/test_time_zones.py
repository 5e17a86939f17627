"""A merchant's time zone must be known to the database, and can be changed."""

from typing import Any

import asyncpg
import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.kit.time_zones import is_known_zone
from florin.ops.diagnostics import time_zones
from tests.conftest import Urls
from tests.support.api_calls import key, problem
from tests.support.members import PASSWORD, SignedInMember, address, audited, register, uuid_of

# Files of one machine, abbreviations and rules that PostgreSQL accepts, other spellings, nothing.
NO_ZONES = ["localtime", "posixrules", "Factory", "CET-1CEST", "europe/paris", "PST", "x", "UTC\n"]


@pytest.mark.parametrize("zone", NO_ZONES)
async def test_an_unknown_time_zone_is_refused(http: httpx.AsyncClient, zone: str) -> None:
    merchant = {"name": "Shop", "country": "NL", "currency": "EUR", "timezone": zone}
    body = {"email": address(), "password": PASSWORD, "merchant": merchant}
    answer = await http.post("/auth/register", json=body)
    problem(answer, 422, "invalid_request", param="merchant.timezone")
    boss = await register(http)
    answer = await http.patch("/merchant", json={"timezone": zone}, headers=boss.headers)
    problem(answer, 422, "invalid_request", param="timezone")


async def test_a_zone_that_only_this_machine_has_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, because its tzdata is newer than that of the database."""
    assert await is_known_zone(database, "Europe/Amsterdam")
    newer = frozenset({"Europe/Amsterdam", "Mars/Olympus_Mons"})
    monkeypatch.setattr("florin.kit.time_zones.iana_zones", lambda: newer)
    assert not await is_known_zone(database, "Mars/Olympus_Mons")


async def issue(http: httpx.AsyncClient, boss: SignedInMember, program: str) -> httpx.Response:
    body = {"program": program, "amount": 5}
    return await http.post("/cards", json=body, headers={**boss.headers, **key()})


async def test_a_time_zone_unknown_to_a_new_database_is_reported_and_changed(
    http: httpx.AsyncClient, owner: Any, urls: Urls
) -> None:
    boss = await register(http)
    merchant = boss.tokens["merchant"]["id"]
    limits = {"min_amount": 1, "max_amount": 9, "expires_after_months": 6}
    body = {"name": "Card", "currency": "EUR", **limits}
    program = (await http.post("/programs", json=body, headers=boss.headers)).json()["id"]
    await owner.execute(
        "update florin.merchant set timezone = 'Mars/Olympus_Mons' where id = $1",
        uuid_of("mer", merchant),
    )
    assert (await issue(http, boss, program)).status_code != 201
    (check,) = await time_zones.compare_time_zones(urls.app)
    assert check.result == "fail"
    assert f"{merchant} (Mars/Olympus_Mons)" in check.message
    changed = await http.patch(
        "/merchant", json={"timezone": "America/New_York"}, headers=boss.headers
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["timezone"] == "America/New_York"
    assert changed.json()["second_factor_roles"] == []  # a field that is left out is not changed
    issued = await issue(http, boss, program)
    assert issued.status_code == 201, issued.text
    assert issued.json()["expires_at"][11:] in {"04:00:00Z", "05:00:00Z"}  # midnight there
    (check,) = await time_zones.compare_time_zones(urls.app)
    assert check.result != "fail", check.message
    record = (await audited(http, boss, action="merchant.changed"))[0]
    assert record["before"] == {"timezone": "Mars/Olympus_Mons"}
    assert record["after"] == {"timezone": "America/New_York"}
    same = await http.patch("/merchant", json={}, headers=boss.headers)
    assert same.json() == changed.json()
    assert len(await audited(http, boss, action="merchant.changed")) == 1


def test_doctor_names_time_zones_that_the_database_lacks() -> None:
    here = frozenset({"UTC", "Europe/Kyiv"})
    assert time_zones.judge_time_zones(here, {"UTC", "Europe/Kyiv", "CET"}, []).result == "ok"
    lacking = time_zones.judge_time_zones(here, {"UTC"}, [])
    assert lacking.result == "warn"
    assert "Europe/Kyiv" in lacking.message


async def test_the_application_may_not_change_what_the_money_of_a_merchant_is(app: Any) -> None:
    for column in ("country", "currency", "test"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(f"update florin.merchant set {column} = {column}")  # noqa: S608
