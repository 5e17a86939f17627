"""Report pages: the roll-forward and the sums by location are those of the ledger, to the cent."""

import csv
import io
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import httpx
import pytest
from markupsafe import escape

from tests.conftest import Urls
from tests.orders.selling import buy, dashboard
from tests.support.api_calls import Json, issue, made, read, redeem
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of, register, uuid_of
from tests.support.page_client import page_client, sign_in

HOSTILE = "=1+<img src=x>"
BY_LOCATION = "/console/reports/locations"


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Reader:
    """An owner who sells in euros, and dollars, at the API and on the pages."""

    api: httpx.AsyncClient
    browser: httpx.AsyncClient
    shop: Shop

    async def csv(self, path: str, **query: str) -> list[dict[str, str]]:
        answer = await self.browser.get(path, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.fixture
async def reader(api: Instance) -> AsyncGenerator[Reader]:
    async with client_of(api) as anonymous:
        boss = await register(anonymous)
    async with client_of(api, **boss.headers) as client, page_client(api) as browser:
        program = {"name": "Harbour card", "currency": "EUR", "min_amount": 500}
        sold = await made(client, "/programs", {**program, "max_amount": 50_000})
        await sign_in(browser, boss.email)
        yield Reader(
            client, browser, Shop(uuid_of("mer", boss.tokens["merchant"]["id"]), sold["id"], "")
        )


async def move_all(http: httpx.AsyncClient, shop: Shop) -> None:
    """Move the money of cards in every way."""
    card, other = await issue(http, shop, 5000), await issue(http, shop, 3000)
    taken = await redeem(http, card, 1100, location="Quay 7")
    await made(http, "/refunds", {"redemption": taken["id"], "amount": 100})
    await made(http, "/loads", {"card": card["id"], "amount": 700})
    await made(http, "/transfers", {"from": other["id"], "to": card["id"], "amount": 1000})
    await made(http, "/adjustments", {"card": card["id"], "amount": -13, "reason": "counted"})
    refunded = await buy(http, shop, 4000)
    await made(http, f"/orders/{refunded['id']}/refunds", {"amount": 1500, "reason": "asked"})
    disputed = await buy(http, shop, 2000)
    await dashboard(http, disputed, "dispute")
    await dashboard(http, disputed, "lose")


async def test_a_line_of_the_roll_forward_adds_up_to_the_ledger(reader: Reader) -> None:
    owed = 0
    for _ in range(2):  # the second time parts of the sums are kept
        await move_all(reader.api, reader.shop)
        owed = (await read(reader.api, "/ledger/balances"))["liability"]
        lines = await reader.csv("/console/reports/roll-forward.csv")
        assert len(lines) == 13
        for line in lines:
            changes = [int(line[name]) for name in list(line)[3:-1]]
            assert int(line["opening"]) + sum(changes) == int(line["closing"])
        assert int(lines[-1]["closing"]) == owed
        assert int(lines[-1]["taken_back"]) < 0
        assert lines[0]["closing"] == "0"
    for path in ("/console", "/console/reports"):
        page = (await reader.browser.get(path)).text
        assert f"€{owed / 100:,.2f}" in page.replace("</span>", "").replace("<span>", ""), path


async def entries_by_location(reader: Reader) -> dict[str, Counter[str]]:
    """The sums of the entries by location and kind, as the export has them."""
    answer = await reader.api.get("/entries/export")
    found: dict[str, Counter[str]] = {}
    for entry in csv.DictReader(io.StringIO(answer.text, newline="")):
        found.setdefault(entry["location"], Counter())[entry["kind"]] += int(entry["amount"])
    return found


async def test_locations_are_summed_as_in_the_ledger(reader: Reader) -> None:
    await move_all(reader.api, reader.shop)
    cards = [await issue(reader.api, reader.shop, 2000) for _ in range(3)]
    for location in ("Quay 7", HOSTILE):
        moved: list[Json] = [
            await redeem(reader.api, card, 250, location=location) for card in cards
        ]
        await made(reader.api, "/refunds", {"redemption": moved[0]["id"], "amount": 50})
    lines = await reader.csv(f"{BY_LOCATION}.csv")
    expected = await entries_by_location(reader)
    assert [line["location"] for line in lines] == ["Quay 7", f"'{HOSTILE}", ""]
    for line in lines:
        sums = expected[line["location"]]
        assert int(line["redeemed"]) == sums["redeem"]
        assert int(line["refunded"]) == sums["refund"]
        assert int(line["sold"]) == sums["issue"] + sums["activate"]
        assert int(line["loaded"]) == sums["load"]
        assert int(line["earned"]) == -sums["redeem"] - sums["refund"]
    assert [line["redemptions"] for line in lines] == ["4", "3", "0"]
    assert lines[0]["earned"] == str(1100 - 100 + 3 * 250 - 50)
    page = (await reader.browser.get(BY_LOCATION)).text
    assert str(escape(HOSTILE)) in page
    assert HOSTILE not in page
    assert "€17.00" in page
    assert "€24.00" in page  # the total


async def test_a_period_of_locations_is_of_whole_days(reader: Reader) -> None:
    card = await issue(reader.api, reader.shop, 2000)
    await redeem(reader.api, card, 250, location="Quay 7")
    [line] = [each for each in await reader.csv(f"{BY_LOCATION}.csv") if each["location"]]
    assert line["first"] == f"{line['last'][:8]}01"  # this month
    days = {"first": line["last"], "last": line["last"]}
    assert any(each["location"] for each in await reader.csv(f"{BY_LOCATION}.csv", **days))
    past = {"first": "2020-01-01", "last": "2020-12-31"}
    assert await reader.csv(f"{BY_LOCATION}.csv", **past) == []
    assert "Nothing moved" in (await reader.browser.get(BY_LOCATION, params=past)).text
    for wrong in (
        {"first": "yesterday"},
        {"first": "2020-02-02", "last": "2020-02-01"},
        {"first": "0001-01-01"},
        {"last": "9999-12-31"},
    ):
        answer = await reader.browser.get(BY_LOCATION, params=wrong)
        assert answer.status_code == 422
        assert "Type days such as 2026-10-31" in answer.text
        led = await reader.browser.get(f"{BY_LOCATION}.csv", params=wrong)
        assert led.headers["location"].startswith(f"{BY_LOCATION}?")
