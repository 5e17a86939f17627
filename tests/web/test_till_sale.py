"""Till: a card is sold once, printed, by e-mail or of plastic; the till's location is recorded."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, made, read
from tests.support.instance import Instance
from tests.support.members import SignedInMember, client_of, member, register
from tests.support.page_client import hidden_fields, page_client, sign_in
from tests.web.test_journeys import HOSTILE

PROGRAM = {"name": "Card", "currency": "EUR", "min_amount": 500, "max_amount": 50_000}


@pytest.fixture
async def boss(api: Instance) -> SignedInMember:
    async with client_of(api) as anonymous:
        return await register(anonymous)


@pytest.fixture
async def http(api: Instance, boss: SignedInMember):
    async with client_of(api, **boss.headers) as client:
        yield client


@pytest.fixture
async def counter(api: Instance, boss: SignedInMember):
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        yield browser


async def sale_form(counter: httpx.AsyncClient, **typed: str) -> dict[str, str]:
    return hidden_fields((await counter.get("/till/sell")).text) | typed


async def cards_of(http: httpx.AsyncClient) -> list[Json]:
    return (await read(http, "/cards", limit=100))["data"]


async def test_a_printed_card_is_made_once(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    form = await sale_form(counter, program=program["id"], amount="25.00", how="print")
    first, again = [await counter.post("/till/sell", data=form) for _ in range(2)]
    [code] = re.findall(r'id="code">([^<]+)<', first.text)
    assert code in again.text
    [card] = await cards_of(http)
    assert (card["balance"], card["state"]) == (2500, "active")
    found = await http.post("/cards/lookup", json={"code": code})
    assert found.json()["id"] == card["id"]


async def test_a_mistake_is_named_and_no_card_is_made(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    wrong: list[tuple[dict[str, str], str]] = [
        ({"amount": "", "how": "print"}, "sum"),
        ({"amount": "1.00", "how": "print"}, "sum"),
        ({"amount": "25", "how": "email", "email": "no address"}, "email"),
        ({"how": "plastic", "code": "0000"}, "code"),
        ({"how": "plastic", "code": "JB8RN3C4VD5WZ1A9"}, "code"),
    ]
    for typed, field in wrong:
        form = await sale_form(counter, program=program["id"], **typed)
        answer = await counter.post("/till/sell", data=form)
        assert answer.status_code in {402, 404, 422}, typed
        assert f'href="#{field}"' in answer.text, typed
    for hostile in (*HOSTILE, "../api-keys", "prg_x/../../cards"):
        form = await sale_form(counter, program=hostile, amount="25", how="print", name=hostile)
        answer = await counter.post("/till/sell", data=form)
        assert answer.status_code in {404, 422}
        assert "<" not in hostile or hostile not in answer.text
    assert not await cards_of(http)


async def test_a_card_by_e_mail_is_on_its_way(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    typed = {"program": program["id"], "amount": "25", "how": "email", "email": "t@example.com"}
    sold = await counter.post("/till/sell", data=await sale_form(counter, **typed))
    assert sold.status_code == 200
    assert 'id="code"' not in sold.text
    [delivery] = [
        each for each in (await read(http, "/deliveries"))["data"] if each["kind"] == "gift"
    ]
    assert delivery["address"] == "t@example.com"


async def test_a_plastic_card_is_activated_once(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    body = {"program": program["id"], "amount": 5000, "activate": False}
    card = await made(http, "/cards", body)
    form = await sale_form(counter, how="plastic", code=card["code"])
    for _ in range(2):  # the browser sends it again to show the page, as a reload does
        sold = await counter.post("/till/sell", data=form)
        assert "The card is active." in sold.text
    found = await read(http, f"/cards/{card['id']}")
    assert (found["state"], found["balance"]) == ("active", 5000)
    other = await sale_form(counter, how="plastic", code=card["code"])
    for _ in range(2):
        warned = await counter.post("/till/sell", data=other)
        assert "This card was active already" in warned.text
    sold = await counter.post("/till/sell", data=form)  # what another sale found changes nothing
    assert "The card is active." in sold.text
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5000


async def test_two_tills_at_once_sell_a_plastic_card_once(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    body = {"program": program["id"], "amount": 5000, "activate": False}
    for _ in range(5):
        card = await made(http, "/cards", body)
        forms = [await sale_form(counter, how="plastic", code=card["code"]) for _ in range(4)]
        answers = await asyncio.gather(*(counter.post("/till/sell", data=each) for each in forms))
        texts = [each.text for each in answers]
        assert sum("The card is active." in each for each in texts) == 1
        assert sum("This card was active already" in each for each in texts) == 3


async def test_who_may_not_issue_cards_sells_none(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    program = await made(http, "/programs", PROGRAM)
    async with client_of(api) as anonymous:
        cashier = await member(anonymous, boss, "cashier")
    async with page_client(api) as browser:
        await sign_in(browser, cashier.email)
        assert "/till/sell" not in (await browser.get("/till")).text
        assert (await browser.get("/till/sell")).status_code == 403
        forced = {"key": "k", "program": program["id"], "amount": "25", "how": "print"}
        assert (await browser.post("/till/sell", data=forced)).status_code == 403
    assert not await cards_of(http)


async def test_the_location_of_the_till_is_recorded(
    http: httpx.AsyncClient, counter: httpx.AsyncClient
) -> None:
    program = await made(http, "/programs", PROGRAM)
    card = await made(http, "/cards", {"program": program["id"], "amount": 5000})
    typed = 'Quay 7 <b>"x"</b>;\t Ölhafen'
    kept = await counter.post("/till/location", data={"location": typed})
    cookie = kept.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    place = 'Quay 7 <b>"x"</b>; Ölhafen'
    page = (await counter.get("/till")).text
    assert "<b>&#34;x" not in page
    assert "&lt;b&gt;" in page
    found = await counter.post("/till/card", data={"code": card["code"]})
    form = hidden_fields(found.text) | {"amount": "12.50", "location": place}
    await counter.post("/till/location", data={"location": "elsewhere"})
    first = await counter.post("/till/take", data=form)
    again = await counter.post("/till/take", data=form)  # the same request, wherever it now stands
    assert first.headers["location"] == again.headers["location"]
    [entry] = [
        each
        for each in (await read(http, f"/cards/{card['id']}/entries"))["data"]
        if each["kind"] == "redeem"
    ]
    assert entry["location"] == place
    gone: Any = await counter.post("/till/location", data={"location": ""})
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert 'name="location" value=""' in (await counter.get("/till")).text
