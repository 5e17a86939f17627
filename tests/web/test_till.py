"""Till: a redemption exactly once, also when an answer is lost; the shift equals the ledger."""

import asyncio
import re
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.web.till.taking import shift_page, till_page
from tests.conftest import Urls
from tests.support.instance import Instance, Shop, instance
from tests.support.members import SignedInMember, client_of, member, register
from tests.support.page_client import hidden_fields, page_client, sign_in
from tests.support.tcp_gate import Gate, gate

Json = dict[str, Any]


@pytest.fixture
async def http(api: Instance):
    async with client_of(api) as client:
        yield client


@pytest.fixture
async def boss(http: httpx.AsyncClient) -> SignedInMember:
    return await register(http)


async def make_card(
    http: httpx.AsyncClient, boss: SignedInMember, amount: int, **rules: Any
) -> Json:
    program = {"name": "Card", "currency": "EUR", "min_amount": 1, "max_amount": 10**6, **rules}
    made = await http.post("/programs", json=program, headers=boss.headers)
    sent = {"program": made.json()["id"], "amount": amount}
    key = {"idempotency-key": f"card-{amount}"}
    card = await http.post("/cards", json=sent, headers={**boss.headers, **key})
    assert card.status_code == 201, card.text
    return card.json()


async def open_amount(browser: httpx.AsyncClient, code: str) -> dict[str, str]:
    """Look the card up at the till; return the hidden fields of the page that takes."""
    page = await browser.post("/till/card", data={"code": code})
    assert page.status_code == 200, page.text
    return hidden_fields(page.text)


async def lose_an_answer(
    browser: httpx.AsyncClient, line: Gate, code: str
) -> tuple[dict[str, str], httpx.Response]:
    """Take money while the database goes away; return the form and the page that says so."""
    for _ in range(5):  # the sign-in may be checked again, and fail first
        form = await open_amount(browser, code)
        form |= {"amount": "20", "take": "asked"}
        line.cut()
        lost = await browser.post("/till/take", data=form)
        assert lost.status_code == 503
        if "data-again" in lost.text:
            return form, lost
        line.open()
    raise AssertionError("the till never reached the database")


async def test_a_second_press_takes_nothing_more(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    card = await make_card(http, boss, 5000)
    cashier = await member(http, boss, "cashier")
    async with page_client(api) as browser:
        await sign_in(browser, cashier.email)
        form = {**await open_amount(browser, card["code"]), "amount": "12,50", "take": "asked"}
        answers = await asyncio.gather(*(browser.post("/till/take", data=form) for _ in range(5)))
        assert {each.status_code for each in answers} == {303}
        assert len({each.headers["location"] for each in answers}) == 1
        again = await open_amount(browser, card["code"])
        assert again["has"] == "3750"
        assert again["key"] != form["key"]


@pytest.mark.slow
async def test_an_unknown_outcome_settles_by_its_key(
    urls: Urls, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    """The database goes away while the till asks, and comes back."""
    card = await make_card(http, boss, 5000)
    port = urlsplit(urls.app).port
    assert port is not None
    async with gate(port) as line:
        url = urls.app.replace(f":{port}/", f":{line.port}/")
        loop = asyncio.get_running_loop()
        context = instance(f"{url}?connection_limit=4&pool_timeout=2")
        running: Instance = await loop.run_in_executor(None, context.__enter__)
        try:
            async with page_client(running) as browser:
                await sign_in(browser, boss.email)
                form, lost = await lose_an_answer(browser, line, card["code"])
                assert "Not known yet" in lost.text
                kept = hidden_fields(lost.text)
                assert kept["key"] == form["key"]
                line.open()
                deadline = loop.time() + 30
                settled = await browser.post("/till/take", data=kept)
                while settled.status_code == 503 and loop.time() < deadline:
                    settled = await browser.post("/till/take", data=kept)
                assert settled.status_code == 303
                once_more = await browser.post("/till/take", data=kept)
                assert once_more.headers["location"] == settled.headers["location"]
        finally:
            await loop.run_in_executor(None, context.__exit__, None, None, None)
    found = await http.get(f"/cards/{card['id']}", headers=boss.headers)
    assert found.json()["balance"] == 3000


async def test_the_shift_equals_the_ledger(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    card = await make_card(http, boss, 9000)
    cashier, other = await member(http, boss, "cashier"), await member(http, boss, "cashier")
    async with page_client(api) as browser, page_client(api) as neighbour:
        await sign_in(browser, cashier.email)
        await sign_in(neighbour, other.email)
        places: list[str] = []
        for who, amount in ((browser, "10"), (neighbour, "3"), (browser, "7.25")):
            form = {**await open_amount(who, card["code"]), "amount": amount, "take": "asked"}
            answer = await who.post("/till/take", data=form)
            places.append(answer.headers["location"])
        redemption = re.search(r"red_\w+", places[0])
        assert redemption is not None
        page = await browser.get(f"/till/undo/{redemption[0]}")
        undo = {**hidden_fields(page.text), "how": "part", "amount": "2.50"}
        assert (await browser.post(f"/till/undo/{redemption[0]}", data=undo)).status_code == 303
        shift = await browser.get("/till/shift")
        figures = re.findall(r'<span class="money">([^<]+)</span>', shift.text)
        assert figures[:3] == ["€17.25", "\N{MINUS SIGN}€2.50", "€14.75"]
        too_much = {**undo, "key": "another", "amount": "9"}
        refused = await browser.post(f"/till/undo/{redemption[0]}", data=too_much)
        assert refused.status_code == 402
    entries = await http.get(
        f"/cards/{card['id']}/entries", params={"limit": 100}, headers=boss.headers
    )
    mine = [each["amount"] for each in entries.json()["data"] if each["actor"] == cashier.id]
    assert -sum(mine) == 1475


async def test_the_till_reads_no_totals_of_the_day(shop: Shop, database: Database) -> None:
    """It is opened for each customer; the page of the shift shows them."""
    for page, reads_totals in ((till_page, False), (shift_page, True)):
        statements: list[str] = []
        handler: Any = page
        visitor = SimpleNamespace(caller=SimpleNamespace(merchant=shop.merchant, actor="usr_x"))
        await handler.fn(_View(), visitor, _Recorded(database, statements))
        assert len(statements) > 1
        assert any("sum(" in each for each in statements) == reads_totals


class _Recorded:
    """A database that keeps the statements it was asked."""

    def __init__(self, database: Database, statements: list[str]) -> None:
        self._database = database
        self._statements = statements

    async def all(self, sql: str, *args: object) -> Any:
        self._statements.append(sql)
        return await self._database.all(sql, *args)

    async def one(self, sql: str, *args: object) -> Any:
        self._statements.append(sql)
        return await self._database.one(sql, *args)


class _View:
    """What the handler of a page needs of its view and of the API."""

    request = SimpleNamespace(headers=dict[str, str]())

    def api(self, visitor: Any) -> "_View":
        del visitor
        return self

    async def get(self, path: str) -> Json:
        assert path == "/auth/me"
        return {"merchant": {"timezone": "UTC"}}

    def in_zone(self, zone: str) -> None:
        assert zone == "UTC"

    def show(self, template: str, **facts: Any) -> str:
        del facts
        return template


async def test_refusals_say_what_to_do(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    whole = await make_card(http, boss, 2000, partial_redemption=False)
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        for bookmark in ("/till/card", "/till/take"):
            assert (await browser.get(bookmark)).headers["location"].endswith("/till")
        typo = await browser.post("/till/card", data={"code": "0000 0000 0000 0001"})
        assert typo.status_code == 422
        assert "One character is wrong" in typo.text
        form = {**await open_amount(browser, whole["code"]), "amount": "5", "take": "asked"}
        refused = await browser.post("/till/take", data=form)
        assert refused.status_code == 402
        assert "spent in one go" in refused.text
        nothing = await browser.post("/till/take", data={**form, "amount": "a lot"})
        assert nothing.status_code == 422
        key = {"idempotency-key": "block"}
        blocked = await http.post(f"/cards/{whole['id']}/block", headers={**boss.headers, **key})
        assert blocked.status_code == 200
        stopped = await browser.post("/till/take", data={**form, "amount": "20.00"})
        assert stopped.status_code == 402
        assert "Do not keep it" in stopped.text
        # A code is in no address that the till leads to.
        assert whole["code"] not in str(stopped.url)


async def test_the_same_card_again_keeps_what_was_typed(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    whole = await make_card(http, boss, 2000, partial_redemption=False)
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        looked_up = {"code": whole["code"], "due": "a few", "reference": "R-1"}
        page = await browser.post("/till/card", data=looked_up)
        assert in_field(page.text, "amount") == "a few"
        form = {**hidden_fields(page.text), "amount": "a lot", "take": "asked"}
        page = await browser.post("/till/take", data=form)
        assert page.status_code == 422
        assert in_field(page.text, "amount") == "a lot"
        form = {**hidden_fields(page.text), "amount": "12.5", "take": "asked"}
        refused = await browser.post("/till/take", data=form)
        assert refused.status_code == 402
        again = hidden_fields(refused.text)
        assert (again["due"], again["reference"]) == ("12.5", "R-1")
        page = await browser.post("/till/card", data=again)
        assert in_field(page.text, "amount") == "12.50"


async def test_what_was_typed_to_give_back_is_a_part(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    card = await make_card(http, boss, 5000)
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        form = {**await open_amount(browser, card["code"]), "amount": "20", "take": "asked"}
        place = (await browser.post("/till/take", data=form)).headers["location"]
        redemption = re.search(r"red_\w+", place)
        assert redemption is not None
        path = f"/till/undo/{redemption[0]}"
        page = await browser.get(path)
        assert chosen(page.text) == "all"
        # "All of it" is chosen until a person chooses something else.
        for how, amount, status in (
            ("part", "a few", 422),
            ("part", "", 422),
            ("all", "a few", 422),
            ("part", "99", 402),
        ):
            undo = {**hidden_fields(page.text), "how": how, "amount": amount}
            page = await browser.post(path, data=undo)
            assert page.status_code == status, (how, amount)
            assert chosen(page.text) == "part"
            assert in_field(page.text, "amount") == amount
        undo = {**hidden_fields(page.text), "how": "all", "amount": "2.50"}
        assert (await browser.post(path, data=undo)).status_code == 303
        assert await available(http, boss, card) == 3250
        undo = {**hidden_fields((await browser.get(path)).text), "how": "all", "amount": ""}
        assert (await browser.post(path, data=undo)).status_code == 303
        assert await available(http, boss, card) == 5000


def chosen(html: str) -> str:
    [value] = re.findall(r'name="how" value="(\w+)" checked', html)
    return value


def in_field(html: str, name: str) -> str:
    """What stands in a field that a person can see."""
    [tag] = re.findall(rf'<input class="in[^>]* name="{name}"[^>]*>', html)
    value = re.search(r'value="([^"]*)"', tag)
    return value[1] if value else ""


async def available(http: httpx.AsyncClient, boss: SignedInMember, card: Json) -> int:
    found = await http.get(f"/cards/{card['id']}", headers=boss.headers)
    return found.json()["available"]
