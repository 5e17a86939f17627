"""Top-up: a holder puts money on a card from its page, with and without scripts."""

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from florin.web.customer.storefront import ORDERS
from tests.conftest import Urls
from tests.orders.selling import choose, place
from tests.support.api_calls import made, read, redeem
from tests.support.browser import needs_chromium
from tests.support.instance import Instance, Shop, instance
from tests.support.page_browser import chromium, person
from tests.support.page_client import hidden_fields, page_client
from tests.web.test_customer_journeys import WIDTHS
from tests.web.test_journeys import HOSTILE, Measured, require_clean

EMAIL = "aoife@example.com"


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture
async def holder(api: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with page_client(api) as client:
        yield client


@pytest.fixture
async def card(http: httpx.AsyncClient, shop: Shop, owner: Any) -> dict[str, Any]:
    """A card of 50.00 of a shop that is open, and takes 10.00 to 200.00 up to a balance of 120."""
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, $2)",
        shop.merchant,
        f"shop-{shop.merchant.hex[-12:]}",
    )
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000, max_balance = 12000"
        " where merchant = $1",
        shop.merchant,
    )
    return await linked(http, shop)


async def linked(http: httpx.AsyncClient, shop: Shop) -> dict[str, Any]:
    body = {"program": shop.program, "amount": 5000, "deliver": {"channel": "link"}}
    return await made(http, "/cards", body)


def top_up_of(card: dict[str, Any]) -> str:
    return f"/c/{card['url'].rpartition('/')[2]}/top-up"


async def send(holder: httpx.AsyncClient, card: dict[str, Any], **fields: str) -> httpx.Response:
    sent = {"key": uuid.uuid4().hex, "amount": "2500", "email": EMAIL, **fields}
    return await holder.post(top_up_of(card), data=sent)


async def orders_of(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await read(http, "/orders"))["data"]


async def test_a_paid_top_up_is_on_the_card_once(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    here = top_up_of(card)
    assert here in (await holder.get(here.removesuffix("/top-up"))).text
    form = hidden_fields((await holder.get(here)).text)
    sent = {**form, "amount": "other", "sum": "12.50", "email": EMAIL}
    answers = await asyncio.gather(*(holder.post(here, data=sent) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {303}
    [pay_url] = {answer.headers["location"] for answer in answers}
    [order] = await orders_of(http)
    assert order["pay_url"] == pay_url
    assert "/c/" not in str(order)
    back = await choose(order, "paid")
    shown = await holder.get(back.headers["location"])
    assert "The money is on the card." in shown.text
    assert "Top-up" in shown.text
    found = await read(http, f"/cards/{card['id']}")
    assert (found["balance"], found["code"]) == (6250, None)
    page = await holder.get(here.removesuffix("/top-up"))
    assert "+€12.50" in page.text
    again = await holder.post(here, data=sent)  # the form of a paid order leads to it
    assert "/o/" in again.headers["location"]
    other = await holder.post(here, data={**sent, "sum": "13.00"})
    assert other.status_code == 422
    assert "sent before" in other.text
    assert hidden_fields(other.text)["key"] != form["key"]
    assert len(await orders_of(http)) == 1


async def test_the_buyer_of_a_top_up_learns_nothing_of_the_card(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any], shop: Shop
) -> None:
    """An order for a card of someone else shows no link of it, no address and no message."""
    recipient = {"name": "Tomás", "email": "tomas@home.example"}
    body = {"program": shop.program, "amount": 5000, "recipient": recipient}
    other = await made(http, "/cards", {**body, "deliver": {"channel": "email"}})
    for topped in (card, other):
        item = {"program": shop.program, "amount": 2500, "card": topped["id"]}
        order = await place(http, shop, items=[item])
        page = (await choose(order, "paid")).headers["location"]
        shown = await holder.get(page)
        assert "The money is on the card." in shown.text
        assert "/c/" not in shown.text
        assert "tomas@home.example" not in shown.text
    stolen = {"address": "thief@example.com"}
    sent = await holder.post(f"{page}/deliveries/{other['delivery']}", data=stolen)
    assert sent.status_code == 404
    kept = await read(http, f"/deliveries/{other['delivery']}")
    assert kept["address"] == "tomas@home.example"


async def test_a_withdrawn_top_up_leaves_what_was_on_the_card(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    await send(holder, card)
    [order] = await orders_of(http)
    page = (await choose(order, "paid")).headers["location"]
    asked = await holder.get(f"{page}/withdraw")
    assert "What was on the card before stays on it." in asked.text
    assert "at most €25.00" in asked.text
    assert (await holder.post(f"{page}/withdraw", data={"x": ""})).status_code == 303
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5000


async def test_a_declined_top_up_says_that_nothing_was_charged(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    await send(holder, card)
    [order] = await orders_of(http)
    back = await choose(order, "declined")
    shown = await holder.get(back.headers["location"])
    assert "nothing was put on the card" in shown.text
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5000


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "999"},  # below the program's least
        {"amount": "other", "sum": "70.01"},  # above what fits on the card
        {"amount": "other", "sum": "0"},
        {"amount": "other", "sum": "ten"},
        {"amount": "-2500"},
        {"amount": "9" * 40},
        {"amount": ""},
        {"email": "aoife"},
        {"email": "a@b\u0001.example"},
    ],
)
async def test_what_does_not_fit_orders_nothing(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any], fields: dict[str, str]
) -> None:
    refused = await send(holder, card, **fields)
    assert refused.status_code == 422
    assert 'href="#' in refused.text
    assert not await orders_of(http)


async def test_only_the_denominations_of_a_program_are_taken(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any], owner: Any, shop: Shop
) -> None:
    await owner.execute(
        "update florin.program set denominations = '{1500, 6000, 9000}' where merchant = $1",
        shop.merchant,
    )
    page = await holder.get(top_up_of(card))
    assert re.findall(r'name="amount" value="(\w+)"', page.text) == ["1500", "6000"]
    assert (await send(holder, card, amount="2500")).status_code == 422
    assert (await send(holder, card, amount="9000")).status_code == 422
    assert (await send(holder, card, amount="6000")).status_code == 303
    [order] = await orders_of(http)
    assert order["amount"] == 6000


@pytest.mark.parametrize("why", ["blocked", "expired", "full", "not for sale", "closed shop"])
async def test_a_card_that_cannot_be_topped_up_offers_none(
    holder: httpx.AsyncClient,
    http: httpx.AsyncClient,
    card: dict[str, Any],
    owner: Any,
    shop: Shop,
    why: str,
) -> None:
    if why == "blocked":
        await made(http, f"/cards/{card['id']}/block", {}, status=200)
    else:
        change = {
            "expired": "account set expires_at = now() - interval '1 s'",
            "full": "account set max_balance = 5999",
            "not for sale": "program set for_sale = false",
            "closed shop": "branding set slug = null",
        }[why]
        await owner.execute(f"update florin.{change} where merchant = $1", shop.merchant)
    here = top_up_of(card)
    assert here not in (await holder.get(here.removesuffix("/top-up"))).text
    for answer in (await holder.get(here), await send(holder, card, amount="1000")):
        assert answer.status_code == 303
        assert answer.headers["location"] == here.removesuffix("/top-up")
    assert not await orders_of(http)


async def test_an_empty_card_is_topped_up(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    await redeem(http, card, 5000)
    here = top_up_of(card)
    assert here in (await holder.get(here.removesuffix("/top-up"))).text
    await send(holder, card)
    [order] = await orders_of(http)
    await choose(order, "paid")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 2500


async def test_the_key_of_a_form_reaches_no_other_order(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any], shop: Shop
) -> None:
    """The same key from the page of another card is another order; one of the API's stays its."""
    other = await linked(http, shop)
    first = await send(holder, card, key="same")
    second = await send(holder, other, key="same")
    assert first.headers["location"] != second.headers["location"]
    assert {each["items"][0]["card"] for each in await orders_of(http)} == {card["id"], other["id"]}


async def test_every_address_that_is_no_card_has_one_answer(
    holder: httpx.AsyncClient, http: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    await made(http, f"/cards/{card['id']}/link", {}, status=200)
    addresses = [top_up_of(card), f"/c/{'A' * 22}/top-up", "/c/x/top-up", "/c/x"]
    answers = [await holder.get(each) for each in addresses]
    answers += [await holder.post(each, data={"amount": "2500"}) for each in addresses[:3]]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert not await orders_of(http)


async def test_nothing_of_the_form_is_kept_or_learned(
    holder: httpx.AsyncClient, card: dict[str, Any]
) -> None:
    for answer in (await holder.get(top_up_of(card)), await send(holder, card, email="x")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert not {"etag", "set-cookie"} & set(answer.headers)
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site}
        forged = await holder.post(top_up_of(card), data={"amount": "2500"}, headers=headers)
        assert forged.status_code == 403


async def test_hostile_text_stays_text(holder: httpx.AsyncClient, card: dict[str, Any]) -> None:
    for typed in HOSTILE:
        for name in ("sum", "email", "key"):
            answer = await send(holder, card, **{"amount": "other", "sum": "x", name: typed})
            assert answer.status_code == 422
            assert "<script>window" not in answer.text
            assert "<img src=x" not in answer.text


async def test_new_orders_of_one_address_are_limited(urls: Urls, card: dict[str, Any]) -> None:
    url = f"{urls.app}?connection_limit=5"
    with instance(url, FLORIN_TRUSTED_PROXIES="127.0.0.0/8") as proxied:
        async with page_client(proxied, **{"x-forwarded-for": "203.0.113.7"}) as client:
            answers = [await send(client, card, key="one") for _ in range(ORDERS.address.max + 1)]
            assert {answer.status_code for answer in answers[:-1]} == {303}
            assert answers[-1].status_code == 429
            client.headers["x-forwarded-for"] = "198.51.100.7"
            assert (await send(client, card)).status_code == 303


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("settings", WIDTHS)
async def test_a_holder_tops_up_in_a_browser(
    api: Instance,
    browser: Browser,
    http: httpx.AsyncClient,
    card: dict[str, Any],
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, f"top-up-{request.node.callspec.id}", settings["script"])
        await page.goto(card["url"])
        await seen.look("card")
        await page.locator('a[href*="/top-up"]').click()
        await seen.look("top-up")
        await page.locator("#email").fill("aoife")
        await page.locator("form.ways button.btn--main").click()
        await expect(page.locator("#email-e")).to_be_visible()
        await seen.look("top-up-mistake")
        await page.locator("#email").fill(EMAIL)
        await page.locator('input[value="other"]').check()
        await page.locator("#sum").fill("20.00")
        await seen.look("top-up-other")
        await page.locator("form.ways button.btn--main").click()
        await expect(page).to_have_url(re.compile(r"/pay/"))
        await page.locator('button[value="paid"]').click()
        await expect(page).to_have_url(re.compile(r"/o/"))
        await expect(page.locator("ol.steps li.done")).to_have_count(2)
        await seen.look("top-up-paid")
        await page.goto(card["url"])
        await expect(page.locator(".cpage__bal .amount")).to_contain_text("70")
        await seen.look("card-topped-up")
        require_clean(found)
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 7000
