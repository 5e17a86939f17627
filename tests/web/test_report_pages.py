"""Report pages: the roll-forward and the sums by location are those of the ledger, to the cent."""

import csv
import io
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from markupsafe import escape

from florin.cards.jobs.expiry import expire_some
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.orders.selling import buy, dashboard
from tests.support.api_calls import Json, issue, made, read, redeem
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of, register, uuid_of
from tests.support.page_client import page_client, sign_in
from tests.support.waiting import until

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


async def expire_card(owner: Any, database: Database, shop: Shop, card: Json) -> None:
    """Expire the card as its job does."""
    await owner.execute(
        "update florin.account set expires_at = clock_timestamp() - interval '1 minute'"
        " where merchant = $1 and id = $2",
        shop.merchant,
        uuid_of("crd", card["id"]),
    )
    async with database.transaction() as tx:
        assert await expire_some(tx, shop.merchant, 10) == 1


async def issue_in(owner: Any, reader: Reader, year: int, amount: int) -> Json:
    """A card that was issued in a year before."""
    card = await issue(reader.api, reader.shop, amount)
    await owner.execute(
        "update florin.account set issued_at = make_timestamptz($3, 6, 1, 0, 0, 0, 'UTC')"
        " where merchant = $1 and id = $2",
        reader.shop.merchant,
        uuid_of("crd", card["id"]),
        year,
    )
    return card


async def test_breakage_and_years_of_issue_are_those_of_the_ledger(
    reader: Reader, owner: Any, database: Database
) -> None:
    await move_all(reader.api, reader.shop)
    lost, kept = [await issue_in(owner, reader, 2021, amount) for amount in (4000, 2500)]
    other = await issue(reader.api, reader.shop, 1000)
    await redeem(reader.api, lost, 1000)
    await made(reader.api, "/transfers", {"from": other["id"], "to": kept["id"], "amount": 400})
    await expire_card(owner, database, reader.shop, lost)
    accounts = await read(reader.api, "/ledger/balances")
    broken = {each["account"]: each["balance"] for each in accounts["accounts"]}["breakage"]
    assert broken == -3000
    month = (await reader.csv("/console/reports/breakage.csv"))[-1]
    assert (month["expired"], month["reinstated"], month["breakage"]) == ("3000", "0", "3000")
    newest, oldest = await reader.csv("/console/reports/years.csv")
    assert oldest == {
        "year": "2021", "currency": "EUR", "cards": "2", "sold": "6500", "spent": "1000",
        "expired": "3000", "owed": "2900",
    }  # fmt: skip
    assert int(newest["owed"]) + 2900 == accounts["liability"]
    page = (await reader.browser.get("/console/reports/breakage")).text
    assert "46.2%" in page  # 3,000 of 6,500
    assert "€30.00" in (await reader.browser.get("/console")).text.replace(
        '<span class="min">', ""
    ).replace("</span>", "")


async def test_what_was_owed_at_an_instant_is_shown_by_year_of_issue(
    reader: Reader, owner: Any
) -> None:
    card = await issue_in(owner, reader, 2019, 5000)
    made_at = datetime.fromisoformat((await read(reader.api, "/ledger/balances"))["as_of"])
    zone = ZoneInfo((await read(reader.api, "/auth/me"))["merchant"]["timezone"])

    async def next_second() -> bool:
        return datetime.now(UTC).replace(microsecond=0) > made_at

    await until(next_second)
    at = datetime.now(zone)
    await redeem(reader.api, card, 1500)
    asked = {"day": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M:%S}"}
    [line] = await reader.csv("/console/reports/liability.csv", **asked)
    assert (line["year"], line["cards"], line["owed"]) == ("2019", "1", "5000")
    page = await reader.browser.get("/console/reports", params=asked)
    assert re.search(r'row">2019</th><td class="num">1</td>.*?€50\.00', page.text)
    earlier = {"day": f"{at - timedelta(days=2):%Y-%m-%d}"}
    assert await reader.csv("/console/reports/liability.csv", **earlier) == []
    wrong = await reader.browser.get("/console/reports/liability.csv", params={"day": "never"})
    assert wrong.headers["location"].startswith("/console/reports?")


async def test_the_overview_shows_its_figures_without_what_waits(
    reader: Reader, owner: Any
) -> None:
    """A list that cannot be read in time takes no page away."""
    await issue(reader.api, reader.shop, 2000)
    async with owner.transaction():
        await owner.execute("lock table florin.dispute in access exclusive mode")
        overview = await reader.browser.get("/console", timeout=60)
    assert overview.status_code == 200
    assert "Needs attention" not in overview.text
    assert "Owed on cards now" in overview.text
    assert "Nothing waits for you." in (await reader.browser.get("/console")).text


async def test_the_overview_names_what_waits_for_a_person(reader: Reader, owner: Any) -> None:
    overview = (await reader.browser.get("/console")).text
    assert "Nothing waits for you." not in overview  # the first day has its own page
    card = await issue(reader.api, reader.shop, 2000)

    async def nothing_waits() -> bool:  # an answer is kept for a moment
        return "Nothing waits for you." in (await reader.browser.get("/console")).text

    await until(nothing_waits)
    await owner.execute(
        "update florin.account set expires_at = clock_timestamp() + interval '29 days'"
        " where merchant = $1 and id = $2",
        reader.shop.merchant,
        uuid_of("crd", card["id"]),
    )
    disputed = await buy(reader.api, reader.shop, 2000)
    await dashboard(reader.api, disputed, "dispute")

    async def is_shown() -> bool:
        page = (await reader.browser.get("/console")).text
        return "payment is disputed; its cards are blocked." in page and (
            "card expires within 30 days, with €20.00 on it." in page
        )

    await until(is_shown)
