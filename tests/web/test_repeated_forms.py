"""Repeated forms: what was typed and its key outlast a refusal and an unknown outcome."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from florin.web.forms import PageForm
from tests.conftest import Urls
from tests.support.instance import Instance, instance
from tests.support.members import SignedInMember
from tests.support.page_client import hidden_fields, page_client, sign_in
from tests.support.tcp_gate import Gate, gate
from tests.web.test_till import boss, http, make_card

__all__ = ["boss", "http"]


async def cut_while_issuing(browser: httpx.AsyncClient, line: Gate, form: dict[str, str]) -> str:
    """Issue a card while the database goes away; return the page that says so."""
    for _ in range(5):  # the sign-in may be checked again, and fail first
        line.cut()
        lost = await browser.post("/console/cards/new", data=form)
        assert lost.status_code == 503
        if 'action="/console/cards/new"' in lost.text:
            return lost.text
        line.open()
        await browser.get("/console/cards/new")
    raise AssertionError("the form was never answered with a form")


@pytest.mark.slow
async def test_a_lost_answer_of_the_console_settles_by_its_key(
    urls: Urls, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
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
                page = (await browser.get("/console/cards/new")).text
                form = {"key": hidden_fields(page)["key"], "program": card["program"]}
                form |= {"amount": "20.00", "name": "A & B", "activate": "on"}
                kept = hidden_fields(await cut_while_issuing(browser, line, form))
                assert kept["key"] == form["key"]
                assert kept["amount"] == "20.00"
                line.open()
                settled = await browser.post("/console/cards/new", data=kept)
                deadline = loop.time() + 30
                while settled.status_code == 503 and loop.time() < deadline:
                    settled = await browser.post("/console/cards/new", data=kept)
                assert settled.status_code == 200
                again = await browser.post("/console/cards/new", data=kept)
                assert again.status_code == 200
        finally:
            await loop.run_in_executor(None, context.__exit__, None, None, None)
    found = await http.get("/cards", headers=boss.headers)
    assert len(found.json()["data"]) == 2


async def test_a_refused_form_keeps_what_was_typed(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    """Else a repetition adds what was to be taken away."""
    card = await make_card(http, boss, 5000)
    typed = {"direction": "take", "amount": "100.00", "reason": "a mistake", "key": "adjust"}
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        refused = await browser.post(f"/console/cards/{card['id']}/adjust", data=typed)
    assert refused.status_code == 402
    assert 'value="take" checked' in refused.text
    assert 'value="add">' in refused.text
    assert 'id="adjust-amount" name="amount" value="100.00"' in refused.text
    assert 'value="a mistake"' in refused.text
    assert 'id="load-amount" name="amount" value=""' in refused.text


def test_no_secret_is_sent_back() -> None:
    """A form with a password is not repeated by the page of an error; it leads back instead."""
    assert PageForm({"key": ["k"], "scopes": ["a", "b"]}).repeatable() == [
        ("key", "k"),
        ("scopes", "a"),
        ("scopes", "b"),
    ]
    assert PageForm({"email": ["a@b.example"], "new_password": ["x"]}).repeatable() == []
    assert PageForm({"key": ["k"], "webhook_secret": ["x"]}).repeatable() == []


async def test_every_key_can_be_reached(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    for number in range(51):
        made = await http.post(
            "/api-keys",
            json={"name": f"till {number}", "scopes": ["cards:read"]},
            headers={**boss.headers, "idempotency-key": f"key-{number}"},
        )
        assert made.status_code == 201, made.text
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        page = (await browser.get("/console/keys")).text
        link = page.partition('href="/console/keys?after=')[2].partition('"')[0]
        assert link
        assert "till 0" in (await browser.get(f"/console/keys?after={link}")).text


async def test_a_job_counts_in_the_currency_of_its_program(
    api: Instance, http: httpx.AsyncClient, boss: SignedInMember
) -> None:
    program = {"name": "Yen", "currency": "JPY", "min_amount": 1, "max_amount": 10**6}
    made = (await http.post("/programs", json=program, headers=boss.headers)).json()
    job = await http.post(
        "/cards/bulk",
        json={"program": made["id"], "amount": 5000, "quantity": 3},
        headers={**boss.headers, "idempotency-key": "yen"},
    )
    async with page_client(api) as browser:
        await sign_in(browser, boss.email)
        page = (await browser.get(f"/console/jobs/{job.json()['id']}")).text
    assert "¥0" in page
    assert "€" not in page
