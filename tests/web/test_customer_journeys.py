"""Journeys of people who hold cards, in a browser: a card in each state, the till, the balance.

Each page is measured as in test_journeys.py: accessibility, bytes, the content policy, foreign
requests; and nothing that a hostile person typed is more than text.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import Urls
from tests.support.api_calls import issue, made, redeem
from tests.support.browser import needs_chromium
from tests.support.instance import Instance, Shop, instance
from tests.support.page_browser import chromium, person
from tests.web.test_journeys import HOSTILE, SETTINGS, Measured, phone_first, require_clean

pytestmark = needs_chromium
WIDTHS = phone_first(SETTINGS)


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    """An instance that allows the wrong codes of all journeys."""
    with instance(f"{urls.app}?connection_limit=10", FLORIN_GUESSES_PER_PREFIX="0") as running:
        yield running


@pytest.fixture
async def slug(owner: Any, shop: Shop) -> str:
    named = f"shop-{shop.merchant.hex[-12:]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug, card_color, line_color)"
        " values ($1, $2, '#7A1F2B', '#F2D08A')",
        shop.merchant,
        named,
    )
    await owner.execute(
        "update florin.merchant set name = 'Harbour & Rye', timezone = 'Europe/Dublin'"
        " where id = $1",
        shop.merchant,
    )
    return named


async def linked(http: httpx.AsyncClient, shop: Shop, message: str) -> dict[str, Any]:
    deliver = {"channel": "link", "message": message}
    return await issue(http, shop, 5000, deliver=deliver, recipient={"name": "Tomás"})


async def stays_text(page: Page) -> None:
    assert await page.evaluate("window.broken") is None


@pytest.mark.usefixtures("slug")
@pytest.mark.parametrize("settings", WIDTHS)
async def test_a_holder_opens_a_card_in_each_of_its_states(
    api: Instance,
    browser: Browser,
    http: httpx.AsyncClient,
    shop: Shop,
    owner: Any,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    name = f"card-{request.node.callspec.id}"
    card = await linked(http, shop, "Breakfast is on me until spring. Save me a seat. — Aoife")
    await redeem(http, card, 1250, location="Quay Street")
    await redeem(http, card, 980, location="Stoneybatter")
    await made(http, "/holds", {"card": card["id"], "amount": 1000, "currency": "EUR"})
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, name, settings["script"])
        await page.goto(card["url"])
        assert await page.locator("details.secret .code").first.is_hidden()
        await seen.look("card")
        await page.locator("details.secret summary").click()
        await expect(page.locator("details.secret .code").first).to_be_visible()
        await page.locator(".acts a.btn--main").click()
        await expect(page.locator(".scan svg.qr")).to_be_visible()
        ground = await page.evaluate("getComputedStyle(document.querySelector('.scan')).background")
        assert "rgb(255, 255, 255)" in ground  # white in the dark, too: a scanner reads it
        await seen.look("card-till")
        await page.locator(".scan__top a").click()
        await made(http, f"/cards/{card['id']}/block", {}, status=200)
        await page.goto(card["url"])
        await expect(page.locator(".state--barred")).to_be_visible()
        await seen.look("card-blocked")
        await made(http, f"/cards/{card['id']}/unblock", {}, status=200)
        spent = await linked(http, shop, "Thanks")
        await redeem(http, spent, 5000)
        await page.goto(spent["url"])
        await expect(page.locator(".state--empty")).to_be_visible()
        await seen.look("card-empty")
        await owner.execute(
            "update florin.account set expires_at = now() - interval '1 s' where merchant = $1",
            shop.merchant,
        )
        await page.goto(card["url"])
        await expect(page.locator(".state--clip")).to_be_visible()
        await seen.look("card-expired")
        await page.goto("/c/nothing")
        assert await page.locator("h1").count() == 1
        await seen.look("card-none")
        require_clean(found)


@pytest.mark.parametrize("settings", WIDTHS)
async def test_a_holder_asks_for_a_balance(
    api: Instance,
    browser: Browser,
    http: httpx.AsyncClient,
    shop: Shop,
    slug: str,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    card = await issue(http, shop, 4250)
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, f"balance-{request.node.callspec.id}", settings["script"])
        await page.goto(f"/s/{slug}")
        await page.locator(f'.mhead nav a[href*="/s/{slug}/balance"]').click()
        await seen.look("balance")
        await page.locator("#code").press_sequentially(card["code"].replace("-", "").lower())
        if settings["script"]:
            await expect(page.locator("#code")).to_have_value(card["code"].replace("-", " "))
        await page.keyboard.press("Enter")
        await expect(page.locator('.sheet[role="status"] .amount')).to_contain_text("42")
        await seen.look("balance-found")
        await page.locator("#code").fill(f"{card['code'][:-1]}U")
        await page.locator("form.sheet button").click()
        await expect(page.locator("#code-e")).to_be_visible()
        await seen.look("balance-typo")
        await page.locator("#code").fill("0000 0000 0000 0000")
        await page.locator("form.sheet button").click()
        await expect(page.locator("#pin")).to_be_visible()
        await expect(page.locator(".note--stop")).to_be_visible()
        await seen.look("balance-none")
        require_clean(found)


async def test_what_a_hostile_person_typed_stays_text_on_the_pages_of_customers(
    api: Instance, browser: Browser, http: httpx.AsyncClient, shop: Shop, slug: str, owner: Any
) -> None:
    async with person(browser, api.base) as (_, page, found):
        for typed in HOSTILE:
            for table in ("merchant", "program"):
                column = "id" if table == "merchant" else "merchant"
                await owner.execute(
                    f"update florin.{table} set name = $2 where {column} = $1",  # noqa: S608 -- our own
                    shop.merchant,
                    typed,
                )
            card = await linked(http, shop, typed)
            await redeem(http, card, 100, location=typed, reference=typed)
            await page.goto(card["url"])
            await expect(page.locator(".gift__msg")).to_have_text(typed)
            await expect(page.locator("ul.lines")).to_contain_text(typed)
            await stays_text(page)
            await page.goto(f"{card['url']}/till")
            await expect(page.locator(".mhead__who")).to_have_text(typed)
            await stays_text(page)
            await page.goto(f"/s/{slug}/balance")
            await page.locator("#code").fill(typed)
            await page.locator("form.sheet button").click()
            await expect(page.locator(".note--stop")).to_be_visible()
            await stays_text(page)
            await page.goto("/balance?shop=" + typed)
            await stays_text(page)
        require_clean(found)


COVERED = """() => {
  const focused = document.activeElement, bar = document.querySelector('.paybar');
  if (!bar || bar.contains(focused) || focused === document.body) return '';
  const seen = (focused.closest('label') || focused).getBoundingClientRect();
  const over = bar.getBoundingClientRect();
  return seen.bottom > over.top + 1 && seen.top < over.bottom - 1 ? focused.outerHTML : '';
}"""


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus; nothing on the way is covered by the bar."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        assert await page.evaluate(COVERED) == ""
        if await page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


async def test_keyboard_alone_buys_a_card_on_a_small_phone(
    api: Instance, browser: Browser, shop: Shop, slug: str, owner: Any
) -> None:
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000 where merchant = $1",
        shop.merchant,
    )
    async with person(browser, api.base, width=390) as (_, page, found):
        await page.set_viewport_size({"width": 390, "height": 560})
        await page.goto(f"/s/{slug}")
        await tab_to(page, 'input[name="amount"]')
        await page.keyboard.press("ArrowRight")
        await tab_to(page, "#to_email")
        await page.keyboard.type("tomas")
        await tab_to(page, "#message")
        await page.keyboard.type("For you")
        await tab_to(page, ".paybar button")
        await page.keyboard.press("Enter")
        await expect(page.locator('.note--stop a[href="#to_email"]')).to_be_visible()
        assert await page.evaluate("document.activeElement.matches('[data-errors]')")
        await tab_to(page, '.note--stop a[href="#to_email"]')
        await page.keyboard.press("Enter")
        await expect(page.locator("#to_email")).to_be_focused()
        await page.keyboard.press("End")
        await page.keyboard.type("@example.com")
        await page.keyboard.press("Enter")  # sends the form, it does not only show the preview
        await expect(page.locator("#email")).to_be_visible()
        await expect(page.locator(".kv")).to_contain_text("tomas@example.com")
        await tab_to(page, "#email")
        await page.keyboard.type("aoife@example.com")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/pay/"))
        await tab_to(page, 'button[value="paid"]')
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/o/"))
        await expect(page.locator("ol.steps li.done").first).to_be_visible()
        require_clean(found)
