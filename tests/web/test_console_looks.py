"""Console in a browser: orders, deliveries, webhooks, the clock and gateways' money, on a phone in
light and at a desk in dark; each page is measured, and photographed if a folder is given.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import Urls
from tests.orders.selling import buy, dashboard, place
from tests.support.api_calls import Json, made, redeem
from tests.support.browser import needs_chromium
from tests.support.instance import Instance, Shop, instance
from tests.support.members import PASSWORD, client_of, register, uuid_of
from tests.support.page_browser import chromium, person
from tests.support.waiting import until
from tests.support.workers import Crew
from tests.web.test_journeys import HOSTILE, Measured, require_clean

pytestmark = needs_chromium

ALLOW = {"FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}
OTHERS = pytest.mark.long_form("pages")
LOOKS = [
    pytest.param({"width": 390, "script": True}, id="phone"),
    pytest.param({"width": 1440, "dark": True, "script": True}, id="desk-dark"),
    pytest.param({"width": 1440, "script": True}, id="desk", marks=OTHERS),
    pytest.param({"width": 390, "dark": True, "script": True}, id="phone-dark", marks=OTHERS),
    pytest.param({"width": 1440, "script": False, "language": "de"}, id="german", marks=OTHERS),
]


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **ALLOW) as running:
        yield running


async def sign_in(page: Page, email: str) -> None:
    await page.goto("/sign-in")
    await page.locator("#email").fill(email)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form button.btn--main").click()
    await expect(page).to_have_url(re.compile(r"/console$"))


async def fill_shop(http: httpx.AsyncClient, owner: Any, merchant: str) -> dict[str, str]:
    """Sell, dispute, refund and deliver; return the ids of what the pages show."""
    await owner.execute(
        "update florin.merchant set test = true where id = $1", uuid_of("mer", merchant)
    )
    program = await made(http, "/programs", {
        "name": "Harbour card", "currency": "EUR", "min_amount": 500, "max_amount": 50_000,
    })  # fmt: skip
    shop = Shop(uuid_of("mer", merchant), program["id"], "")
    await place(http, shop, 2500, buyer={"email": "aoife.byrne@example.com", "name": "Aoife Byrne"})
    disputed = await buy(http, shop, 7500)
    await dashboard(http, disputed, "dispute")
    item: Json = {
        "program": program["id"], "amount": 5000,
        "recipient": {"name": "Tomás Byrne", "email": "tomas.byrne@example.com"},
        "message": f"Breakfast is on me until spring. {HOSTILE[1]}",
        "deliver": {"channel": "email"},
    }  # fmt: skip
    order = await buy(http, shop, 5000, items=[item])
    card = order["items"][0]["cards"][0]
    await redeem(http, {"id": card}, 1250, location="Quay 7")
    await made(http, f"/orders/{order['id']}/refunds", {"amount": 1000, "reason": HOSTILE[0]})
    hook = {"url": "http://127.0.0.1:9/hooks/florin", "events": ["card.redeemed", "card.refunded"]}
    endpoint = await made(http, "/webhook-endpoints", {**hook, "description": HOSTILE[4]})
    await redeem(http, {"id": card}, 300, location=HOSTILE[2])

    async def tried() -> bool:
        found = await http.get(f"/webhook-endpoints/{endpoint['id']}/deliveries")
        return any(each["tries"] for each in found.json()["data"])

    await until(tried)
    deliveries = (await http.get("/deliveries", params={"card": card})).json()["data"]
    return {
        "order": order["id"],
        "disputed": disputed["id"],
        "endpoint": endpoint["id"],
        "delivery": deliveries[0]["id"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("settings", LOOKS)
async def test_the_console_looks_right(
    api: Instance,
    browser: Browser,
    owner: Any,
    workers: Crew,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    async with client_of(api) as anonymous:
        boss = await register(anonymous)
    workers.start(**ALLOW)
    async with client_of(api, **boss.headers) as http:
        ids = await fill_shop(http, owner, boss.tokens["merchant"]["id"])
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, request.node.callspec.id, settings["script"])
        await sign_in(page, boss.email)
        for what, path in [
            ("orders", "/console/orders"),
            ("order", f"/console/orders/{ids['order']}"),
            ("order-disputed", f"/console/orders/{ids['disputed']}"),
            ("disputes", "/console/disputes"),
            ("deliveries", "/console/deliveries"),
            ("delivery", f"/console/deliveries/{ids['delivery']}"),
            ("webhooks", "/console/webhooks"),
            ("webhook", f"/console/webhooks/{ids['endpoint']}"),
            ("clock", "/console/clock"),
            ("gateway-report", "/console/reports/gateway"),
            ("location-report", "/console/reports/locations"),
            ("breakage-report", "/console/reports/breakage"),
            ("vat-report", "/console/reports/vat"),
            ("overview", "/console"),
            ("till-location", "/till"),
            ("till-sell", "/till/sell"),
            ("installation", "/operator/installation"),
        ]:
            await page.goto(path)
            await seen.look(what)
            if settings["script"]:
                assert await page.evaluate("window.broken") is None
        # The dialogs open without scripts, too.
        await page.goto(f"/console/orders/{ids['order']}")
        await page.locator('.con__head button[popovertarget="dlg-refund"]').click()
        await seen.look("order-refund")
        dialog = page.locator("#dlg-refund")
        await dialog.locator("#amount").fill("5.00")
        await dialog.locator("#reason").fill(HOSTILE[4])
        await dialog.locator("button.btn--stop-main").click()
        await expect(page).to_have_url(re.compile("done=refund"))
        await expect(page.locator("tbody", has_text=HOSTILE[4])).to_be_visible()
        require_clean(found)
