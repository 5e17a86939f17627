"""Forms in a browser: a buyer withdraws from an order, a merchant sends and removes its image.

Each page is measured as in test_journeys.py: accessibility, bytes, the content policy, foreign
requests.
"""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, FilePayload, expect

from tests.conftest import Urls
from tests.merchants.test_branding import png
from tests.orders.selling import buy
from tests.support.api_calls import read, redeem
from tests.support.browser import needs_chromium
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of, register
from tests.support.page_browser import chromium, person
from tests.web.test_console_looks import LOOKS, sign_in
from tests.web.test_customer_journeys import WIDTHS
from tests.web.test_journeys import Measured, phone_first, require_clean

pytestmark = [needs_chromium, pytest.mark.slow]
PHONE_FIRST = phone_first(LOOKS)


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=5") as running:
        yield running


@pytest.mark.parametrize("settings", WIDTHS)
async def test_a_buyer_withdraws_in_a_browser(
    api: Instance,
    browser: Browser,
    http: httpx.AsyncClient,
    shop: Shop,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    order = await buy(http, shop, 5000)
    await redeem(http, {"id": order["items"][0]["cards"][0]}, 1000)
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, f"withdraw-{request.node.callspec.id}", settings["script"])
        await page.goto(order["url"])
        await page.locator('a[href*="/withdraw"]').click()
        await seen.look("order-withdraw")
        await page.locator("form.sheet a.btn").click()  # keep the card
        await expect(page.locator('a[href*="/withdraw"]')).to_be_visible()
        assert (await read(http, f"/orders/{order['id']}"))["refunded"] == 0
        await page.locator('a[href*="/withdraw"]').focus()
        await page.keyboard.press("Enter")
        await page.locator("form.sheet button.btn--stop-main").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".note--ok")).to_be_visible()
        await seen.look("order-withdrawn")
        await expect(page.locator('a[href*="/withdraw"]')).to_have_count(0)
        require_clean(found)
    assert (await read(http, f"/orders/{order['id']}"))["refunded"] == 4000


def file_of(data_url: str, name: str) -> FilePayload:
    content = base64.b64decode(data_url.partition(",")[2])
    return {"name": name, "mimeType": "image/png", "buffer": content}


@pytest.mark.parametrize("settings", PHONE_FIRST)
async def test_a_merchant_sends_and_removes_its_image(
    api: Instance, browser: Browser, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    async with client_of(api) as anonymous:
        boss = await register(anonymous)
    async with (
        person(browser, api.base, **settings) as (_, page, found),
        client_of(api, **boss.headers) as http,
    ):
        seen = Measured(page, f"logo-{request.node.callspec.id}", settings["script"])
        await sign_in(page, boss.email)
        await page.goto("/console/settings")
        save = page.locator('form[action="/console/settings/logo"] button.btn--main')
        await page.locator("#file").set_input_files(
            {"name": "logo.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
        )
        await save.click()
        await expect(page.locator("#file-e")).to_be_visible()
        await seen.look("logo-mistake")
        await page.locator("#file").set_input_files(file_of(png(16, 16), "small.png"))
        await save.click()
        await expect(page.locator("#file-e")).to_be_visible()
        await page.locator("#file").set_input_files(file_of(png(64, 64), "logo.png"))
        await save.click()
        await expect(page.locator(".note--ok")).to_be_visible()
        shown = page.locator("img.logo")
        await expect(shown).to_be_visible()
        assert await shown.evaluate("each => each.complete && each.naturalWidth") == 64
        await seen.look("logo")
        assert (await read(http, "/auth/me"))["merchant"]["logo"]
        await page.locator('button[name="remove"]').click()
        await expect(page.locator(".note--ok")).to_be_visible()
        await expect(shown).to_have_count(0)
        assert (await read(http, "/auth/me"))["merchant"]["logo"] is None
        require_clean(found)
