"""Storefront: a customer chooses a card, pays it, follows its order; what no form may change."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from florin.kit.http.static_files import CachedBody
from florin.kit.valkey.shared_values import SharedValues
from florin.web import public_pages
from florin.web.shared_pages import SharedPages
from tests.conftest import Urls
from tests.support.browser import needs_chromium
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.page_browser import chromium, person
from tests.support.page_client import hidden_fields, page_client
from tests.web.test_journeys import SETTINGS, Measured, require_clean

HOSTILE = "</title><script>window.broken=1</script>"
FORM = {
    "amount": "5000", "way": "email", "to": "Tomás", "to_email": "tomas@example.com",
    "from": "Aoife", "message": "For you", "when": "now", "zone": "Europe/Lisbon",
}  # fmt: skip


@pytest.fixture
async def slug(owner: Any, shop: Shop) -> str:
    made = f"shop-{shop.merchant.hex[-12:]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug, card_color, line_color)"
        " values ($1, $2, '#7A1F2B', '#F2D08A')",
        shop.merchant,
        made,
    )
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000 where merchant = $1",
        shop.merchant,
    )
    return made


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


async def checkout(client: httpx.AsyncClient, shop: Shop, slug: str, **typed: str) -> str:
    """Send the form; return the page on which it is paid."""
    answer = await client.post(f"/s/{slug}/{shop.program}", data={**FORM, **typed})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_public_page_is_cached_without_a_cookie(api: Instance, slug: str) -> None:
    async with httpx.AsyncClient(base_url=api.base, verify=NO_TLS) as client:
        page = await client.get(f"/s/{slug}")
        assert page.status_code == 200
        assert page.headers["cache-control"].startswith("public, max-age=")
        assert "stale-while-revalidate" in page.headers["cache-control"]
        assert "set-cookie" not in page.headers
        assert "cookie" not in page.headers["vary"].lower()
        same = await client.get(f"/s/{slug}", headers={"if-none-match": page.headers["etag"]})
        assert same.status_code == 304
        assert (await client.get("/s/no-such-shop")).status_code == 404


async def test_a_change_is_on_the_next_page_of_each_language(
    api: Instance, shop: Shop, slug: str, owner: Any
) -> None:
    async with httpx.AsyncClient(base_url=api.base, verify=NO_TLS) as client:

        async def text(path: str, language: str = "en", **query: str) -> str:
            headers = {"accept-language": language}
            return (await client.get(f"/s/{slug}{path}", headers=headers, params=query)).text

        for _ in range(2):
            assert "Give a gift card" in await text("")
            assert "Geschenkkarte" in await text("", "de")
            assert "#7A1F2B" not in await text("")
        await owner.execute(
            "update florin.branding set card_color = '#204060' where slug = $1", slug
        )
        await owner.execute(
            "update florin.merchant set name = 'Quay & Sons' where id = $1", shop.merchant
        )
        for path in ("", f"/{shop.program}", "/balance"):
            for language in ("en", "de"):
                page = await text(path, language)
                assert "Quay &amp; Sons" in page
                assert "/brand/204060-F2D08A.css" in page
        assert "Give a gift card" in await text("", done="anything")
        await owner.execute(
            "update florin.program set for_sale = false where merchant = $1", shop.merchant
        )
        assert "Give a gift card" not in await text("")


def test_kept_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_pages, "_KEPT_BYTES", 2_500)
    pages = public_pages.PublicPages(
        SharedPages(SharedValues(None, ("secret",), use="page", kept_s=1), "")
    )
    keys = [public_pages.page_key("page", n) for n in range(3)]
    for key in keys[:2]:
        pages.keep(key, CachedBody(b"x" * 1_000, None, "text/html", "t"))
        pages.keep(key, CachedBody(b"x" * 1_000, None, "text/html", "t"))
    assert pages.find(keys[0])  # used last, so that the other one goes
    pages.keep(keys[2], CachedBody(b"x" * 900, b"y" * 100, "text/html", "t"))
    assert [pages.find(key) is not None for key in keys] == [True, False, True]


async def test_a_draft_is_one_order_and_cannot_be_changed(
    api: Instance, http: httpx.AsyncClient, shop: Shop, slug: str
) -> None:
    async with page_client(api) as client:
        draft = hidden_fields(await checkout(client, shop, slug))["draft"]
        sent = {"draft": draft, "email": "aoife@example.com"}
        first = await client.post(f"/s/{slug}/orders", data=sent)
        again = await client.post(f"/s/{slug}/orders", data=sent)
        assert (first.status_code, again.status_code) == (303, 303)
        assert first.headers["location"] == again.headers["location"]
        other = await client.post(f"/s/{slug}/orders", data={**sent, "email": "b@example.com"})
        assert other.status_code == 422
        forged = draft[:-6] + ("AAAAAA" if draft[-6:] != "AAAAAA" else "BBBBBB")
        refused = await client.post(f"/s/{slug}/orders", data={**sent, "draft": forged})
        assert refused.headers["location"] == f"/s/{slug}"
    [order] = (await http.get("/orders")).json()["data"]
    assert (order["amount"], order["buyer"]["email"]) == (5000, "aoife@example.com")
    assert order["items"][0]["recipient"]["email"] == "tomas@example.com"


async def test_a_program_that_is_not_for_sale_is_not_sold(
    api: Instance, http: httpx.AsyncClient, shop: Shop, slug: str
) -> None:
    rules = {"name": "Staff", "currency": "EUR", "min_amount": 1000, "max_amount": 9000}
    staff = (await http.post("/programs", json={**rules, "for_sale": False})).json()
    assert staff["for_sale"] is False
    old = (await http.post("/programs", json={**rules, "imported_codes": True})).json()
    assert old["for_sale"] is False
    refused = await http.patch(f"/programs/{old['id']}", json={"for_sale": True})
    assert (refused.status_code, refused.json()["param"]) == (422, "for_sale")
    async with page_client(api) as client:
        page = f"/s/{slug}/{staff['id']}"
        draft = hidden_fields(await checkout(client, shop, slug))["draft"]
        assert (await client.get(page)).status_code == 404
        assert "Staff" not in (await client.get(f"/s/{slug}")).text
        sold = await http.patch(f"/programs/{staff['id']}", json={"for_sale": True})
        assert sold.json()["for_sale"] is True
        assert (await client.get(page)).status_code == 200
        await http.patch(f"/programs/{shop.program}", json={"for_sale": False})
        late = {"draft": draft, "email": "aoife@example.com"}
        answer = await client.post(f"/s/{slug}/orders", data=late)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/s/{slug}")
        await http.patch(f"/programs/{staff['id']}", json={"for_sale": False})
        closed = await client.get(f"/s/{slug}")
        assert "No gift cards for sale now" in closed.text


async def test_a_page_that_was_sent_can_change_its_language(
    api: Instance, shop: Shop, slug: str
) -> None:
    """Its address has no page of its own: the draft, or what was typed, goes with the request."""
    async with page_client(api) as client:
        page = await checkout(client, shop, slug)
        draft = hidden_fields(page)["draft"]
        sent = {"draft": draft, "show": "1"}
        german = await client.post(f"/s/{slug}/{shop.program}?lang=de", data=sent)
        assert german.status_code == 200
        assert "Prüfen und bezahlen" in german.text
        assert hidden_fields(german.text)["draft"] == draft
        ended = await client.post(f"/s/{slug}/{shop.program}", data={"draft": "x", "show": "1"})
        assert ended.headers["location"] == f"/s/{slug}"
        refused = await client.post(f"/s/{slug}/orders", data={"draft": draft, "email": "x"})
        assert refused.status_code == 422
        assert 'href="?lang=de"' not in refused.text


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"amount": "999"}, "amount"),
        ({"amount": "20001"}, "amount"),
        ({"amount": "other", "sum": "12,345"}, "sum"),
        ({"amount": "5e3"}, "amount"),
        ({"to_email": "tomas"}, "to_email"),
        ({"when": "later"}, "date"),
        ({"when": "later", "date": "2020-01-01"}, "date"),
        ({"when": "later", "date": "2099-01-01"}, "date"),
        ({"when": "later", "date": "2027-02-30"}, "date"),
        ({"when": "later", "date": "2027-01-01", "zone": "CET-1"}, "zone"),
        ({"message": "a\u0007b"}, "message"),
    ],
)
async def test_a_mistake_is_named_and_nothing_is_lost(
    api: Instance, shop: Shop, slug: str, typed: dict[str, str], field: str
) -> None:
    async with page_client(api) as client:
        answer = await client.post(f"/s/{slug}/{shop.program}", data={**FORM, **typed})
        assert answer.status_code == 422
        assert f'href="#{field}"' in answer.text
        assert 'value="Aoife"' in answer.text


async def test_a_card_waits_for_its_time_where_the_recipient_is(
    api: Instance, owner: Any, shop: Shop, slug: str
) -> None:
    day = (datetime.now(UTC) + timedelta(days=40)).strftime("%Y-%m-%d")
    typed = {"when": "later", "date": day, "time": "08:00", "zone": "Australia/Sydney"}
    async with page_client(api) as client:
        page = await checkout(client, shop, slug, **typed)
        assert "08:00 (Sydney)" in page
        sent = {"draft": hidden_fields(page)["draft"], "email": "aoife@example.com"}
        paying = (await client.post(f"/s/{slug}/orders", data=sent)).headers["location"]
        order_page = (await client.post(paying, data={"outcome": "paid"})).headers["location"]
        shown = await client.get(order_page)
        assert "08:00 (Sydney)" in shown.text
    row = await owner.fetchrow(
        "select *, due_at at time zone 'Australia/Sydney' as there from florin.delivery"
        " where merchant = $1 and kind = 'gift'",
        shop.merchant,
    )
    assert (row["state"], row["address"]) == ("waiting", "tomas@example.com")
    assert row["there"].isoformat(timespec="minutes") == f"{day}T08:00"


async def test_new_orders_of_one_address_are_limited(urls: Urls, shop: Shop, slug: str) -> None:
    url = f"{urls.app}?connection_limit=5"
    with instance(url, FLORIN_TRUSTED_PROXIES="127.0.0.0/8") as proxied:
        async with page_client(proxied, **{"x-forwarded-for": "203.0.113.7"}) as client:
            sent = {
                "draft": hidden_fields(await checkout(client, shop, slug))["draft"],
                "email": "a@example.com",
            }
            answers = [await client.post(f"/s/{slug}/orders", data=sent) for _ in range(31)]
            assert [answer.status_code for answer in answers[:30]] == [303] * 30
            assert answers[30].status_code == 429
            assert "retry-after" in answers[30].headers
            client.headers["x-forwarded-for"] = "198.51.100.7"
            assert (await client.post(f"/s/{slug}/orders", data=sent)).status_code == 303


@needs_chromium
@pytest.mark.parametrize("settings", SETTINGS)
async def test_a_customer_buys_a_card_and_follows_its_order(
    api: Instance,
    browser: Browser,
    slug: str,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    name = f"shop-{request.node.callspec.id}"
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, name, settings["script"])
        await page.goto(f"/s/{slug}")
        await seen.look("shop")
        await page.locator("button.btn--main").click()
        await expect(page.locator('.note--stop a[href="#to_email"]')).to_be_visible()
        await seen.look("shop-errors")
        await page.locator('input[name="amount"][value="other"]').check(force=True)
        await page.locator("#sum").fill("42,50")
        await page.locator("#to").fill(HOSTILE[:60])
        await page.locator("#to_email").fill("tomas@example.com")
        await page.locator("#message").fill("For you & yours")
        await page.locator("button.btn--main").click()
        await expect(page.locator(".total")).to_contain_text(re.compile(r"42[.,]50"))
        await seen.look("checkout")
        await page.locator("#email").fill("aoife@example.com")
        await page.locator("button.btn--main").click()
        await expect(page).to_have_url(re.compile(r"/pay/"))
        await page.locator('button[value="paid"]').click()
        await expect(page).to_have_url(re.compile(r"/o/"))
        await expect(page.locator("ol.steps li.done").first).to_be_visible()
        await seen.look("order-paid")
        await page.goto(f"/s/{slug}?lang=en")
        await page.locator('input[name="way"][value="print"]').check(force=True)
        await page.locator("button.btn--main").click()
        await page.locator("#email").fill("aoife@example.com")
        await page.locator("button.btn--main").click()
        await page.locator('button[value="paid"]').click()
        await expect(page).to_have_url(re.compile(r"/o/"))
        await page.locator('a[href*="/c/"]').click()
        await expect(page).to_have_url(re.compile(r"/c/"))
        assert not await page.evaluate("'broken' in window")
        require_clean(found)


@needs_chromium
async def test_an_order_says_honestly_what_its_payment_did(
    api: Instance, browser: Browser, shop: Shop, slug: str
) -> None:
    outcomes = {"declined": "Not paid", "expired": "Not paid", "delayed": "being checked"}
    async with person(browser, api.base, width=390) as (_, page, found), page_client(api) as client:
        seen = Measured(page, "order-phone", script=True)
        for outcome, said in outcomes.items():
            draft = hidden_fields(await checkout(client, shop, slug))["draft"]
            sent = {"draft": draft, "email": "aoife@example.com"}
            paying = (await client.post(f"/s/{slug}/orders", data=sent)).headers["location"]
            order_page = (await client.post(paying, data={"outcome": outcome})).headers["location"]
            await page.goto(order_page)
            await expect(page.locator("h1")).to_contain_text(said)
            pay_again = await page.locator('a[href*="/pay/"]').count()
            assert pay_again == 0, f"{outcome} offers to pay again"
            await seen.look(f"order-{outcome}")
        await page.goto("/o/nothing")
        assert await page.locator("h1").inner_text() == "There is no order at this address"
        require_clean(found)
