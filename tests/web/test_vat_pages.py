"""VAT on pages: a program's treatment is typed, orders show what is VAT, the report adds up."""

import csv
import io
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.conftest import Urls
from tests.orders.selling import buy
from tests.support.api_calls import Json, issue, made, read
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.members import client_of, register, uuid_of
from tests.support.page_client import page_client, sign_in

REPORT = "/console/reports/vat"
FORM = {
    "name": "Harbour card",
    "min_amount": "5",
    "max_amount": "500",
    "expires_after_months": "60",
    "vat": "single_purpose",
    "vat_country": "nl",
    "vat_rate": "5,5 %",
}
DUTCH = {"treatment": "single_purpose", "country": "NL", "rate": 550}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Seller:
    api: httpx.AsyncClient
    browser: httpx.AsyncClient
    shop: Shop

    @property
    def path(self) -> str:
        return f"/console/programs/{self.shop.program}"

    async def program(self) -> Json:
        return await read(self.api, f"/programs/{self.shop.program}")


@pytest.fixture
async def seller(api: Instance) -> AsyncGenerator[Seller]:
    async with client_of(api) as anonymous:
        boss = await register(anonymous)
    async with client_of(api, **boss.headers) as client, page_client(api) as browser:
        program = {"name": "Harbour card", "currency": "EUR", "min_amount": 500}
        sold = await made(client, "/programs", {**program, "max_amount": 50_000})
        await sign_in(browser, boss.email)
        merchant = uuid_of("mer", boss.tokens["merchant"]["id"])
        yield Seller(client, browser, Shop(merchant, sold["id"], ""))


async def test_a_member_types_the_treatment_of_a_program(seller: Seller) -> None:
    answer = await seller.browser.post(seller.path, data=FORM)
    assert answer.status_code == 303, answer.text
    assert (await seller.program())["vat"] == DUTCH
    page = (await seller.browser.get(seller.path)).text
    assert '<option value="single_purpose" selected>' in page
    assert 'value="NL"' in page
    assert 'value="5.5"' in page
    for rate, kept in (("21", 2100), ("10.25", 1025), ("0", 0)):
        await seller.browser.post(seller.path, data={**FORM, "vat_rate": rate})
        assert (await seller.program())["vat"]["rate"] == kept
    made_ = await seller.browser.post(
        "/console/programs/new", data={**FORM, "currency": "EUR", "key": "new-program-1"}
    )
    assert made_.status_code == 303, made_.text
    newest = (await read(seller.api, "/programs"))["data"][0]
    assert newest["vat"] == DUTCH
    back = {**FORM, "vat": "multi_purpose"}
    assert (await seller.browser.post(seller.path, data=back)).status_code == 303
    assert (await seller.program())["vat"]["treatment"] == "multi_purpose"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"vat_rate": "much"}, "Type a rate in percent"),
        ({"vat_rate": ""}, "Type a rate in percent"),
        ({"vat_rate": "5.555"}, "Type a rate in percent"),
        ({"vat_country": ""}, "Type the two letters of a country"),
        ({"vat_country": "XX"}, "XX is no country"),
        ({"vat_rate": "101"}, "vat"),
    ],
)
async def test_what_is_no_treatment_is_shown_at_its_field(
    seller: Seller, typed: dict[str, str], said: str
) -> None:
    answer = await seller.browser.post(seller.path, data=FORM | typed)
    assert answer.status_code == 422
    assert said in answer.text
    assert "To correct" in answer.text
    assert (await seller.program())["vat"]["treatment"] == "multi_purpose"


async def test_an_order_shows_the_vat_within_its_price(seller: Seller) -> None:
    await seller.browser.post(seller.path, data={**FORM, "vat_rate": "21"})
    order = await buy(seller.api, seller.shop, 12_100)
    async with httpx.AsyncClient(verify=NO_TLS) as buyer:
        page = (await buyer.get(order["url"], follow_redirects=True)).text
        german = (await buyer.get(f"{order['url']}?lang=de", follow_redirects=True)).text
    assert "VAT of 21% included" in page
    assert "€21.00" in page
    assert "MwSt." in german
    shown = (await seller.browser.get(f"/console/orders/{order['id']}")).text
    assert "VAT of 21% included" in shown
    plain = {**FORM, "vat": "multi_purpose"}
    await seller.browser.post(seller.path, data=plain)
    other = await buy(seller.api, seller.shop, 12_100)
    assert "VAT" not in (await seller.browser.get(f"/console/orders/{other['id']}")).text


async def test_the_page_and_its_file_have_the_lines_of_the_report(seller: Seller) -> None:
    await issue(seller.api, seller.shop, 1000)
    await seller.browser.post(seller.path, data={**FORM, "vat_rate": "21"})
    await issue(seller.api, seller.shop, 12_100)
    page = (await seller.browser.get(REPORT)).text
    for word in ("Single-purpose", "Multi-purpose", "NL, 21%", "€121.00", "€100.00", "€21.00"):
        assert word in page, word
    assert "tax adviser" in page
    answer = await seller.browser.get(f"{REPORT}.csv", params={"first": "2020-01-01"})
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["rate"], row["taxable"], row["vat"]) for row in rows] == [
        ("2100", "12100", "2100"),
        ("", "0", ""),
    ]
    past = {"first": "2020-01-01", "last": "2020-12-31"}
    assert "Nothing moved" in (await seller.browser.get(REPORT, params=past)).text


async def test_days_that_are_none_are_refused(seller: Seller) -> None:
    for wrong in ({"first": "yesterday"}, {"first": "2020-02-02", "last": "2020-02-01"}):
        answer = await seller.browser.get(REPORT, params=wrong)
        assert answer.status_code == 422
        assert "Type days such as 2026-10-31" in answer.text
        led = await seller.browser.get(f"{REPORT}.csv", params=wrong)
        assert led.headers["location"].startswith(f"{REPORT}?")
