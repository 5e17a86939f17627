"""Gateways in the console: connect, test, renew and turn off, over HTTP and in a browser, with
servers that speak the protocols of Stripe and PayPal.
"""

import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.conftest import Urls
from tests.identity.test_step_up import age
from tests.support import paypal_server, stripe_server
from tests.support.api_calls import read
from tests.support.browser import needs_chromium
from tests.support.instance import Instance, instance
from tests.support.members import SignedInMember, client_of, member, register
from tests.support.page_browser import chromium, person
from tests.support.page_client import page_client, sign_in
from tests.support.stripe_server import OWN_KEY
from tests.support.waiting import until
from tests.web.test_console_looks import LOOKS
from tests.web.test_console_looks import sign_in as sign_in_browser
from tests.web.test_journeys import HOSTILE, Measured, require_clean

HOOK_SECRET = "whsec_typed_in_a_page_0123456789"
STRIPE = {"provider": "stripe", "live": "no", "secret_key": OWN_KEY}
PAYPAL = {
    "provider": "paypal",
    "live": "no",
    "client_id": paypal_server.CLIENT,
    "client_secret": paypal_server.SECRET,
}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with (
        stripe_server.stripe_server() as stripe,
        paypal_server.paypal_server() as paypal,
        instance(
            f"{urls.app}?connection_limit=5", STRIPE_URL=stripe.url, PAYPAL_URL=paypal.url
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest.fixture
async def boss(api: Instance) -> SignedInMember:
    async with client_of(api) as anonymous:
        return await register(anonymous)


@pytest.fixture
async def page(api: Instance, boss: SignedInMember) -> AsyncGenerator[httpx.AsyncClient]:
    async with page_client(api) as client:
        await sign_in(client, boss.email)
        yield client


async def connect(page: httpx.AsyncClient, **fields: str) -> str:
    """Connect a gateway; return the path of its page."""
    answer = await page.post("/console/gateways/new", data=fields)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].partition("?")[0]


async def test_stripe_is_connected_tested_renewed_and_turned_off(
    page: httpx.AsyncClient, api: Instance
) -> None:
    empty = await page.get("/console/gateways")
    assert "No gateway of your own yet" in empty.text
    here = await connect(page, **STRIPE, webhook_secret="")
    shown = await page.get(here)
    assert "Not tested yet" in shown.text
    assert f"{api.base}/api/v1/hooks/stripe/{here.rpartition('/')[2]}" in shown.text
    assert "charge.dispute.funds_reinstated" in shown.text
    tested = await page.post(f"{here}/test", data={"x": ""})
    assert "Stripe accepts the key." in tested.text
    assert "acct_of_a_merchant" in tested.text
    assert "Its webhooks would not arrive:" in tested.text
    nothing = await page.post(f"{here}/renew", data={"secret_key": " "})
    assert nothing.status_code == 422
    renewed = await page.post(f"{here}/renew", data={"webhook_secret": HOOK_SECRET})
    assert renewed.status_code == 303
    tested = await page.post(f"{here}/test", data={"x": ""})
    assert "The address of its webhooks answers." in tested.text
    twice = await page.post("/console/gateways/new", data=STRIPE)
    assert twice.status_code == 422
    assert "turn it off first" in twice.text
    assert (await page.post(f"{here}/off", data={"x": ""})).status_code == 303
    assert "This gateway is off." in (await page.get(here)).text
    assert (await page.post(f"{here}/on", data={"x": ""})).status_code == 303
    assert "This gateway is off." not in (await page.get(here)).text
    assert (await page.post(f"{here}/fly", data={"x": ""})).status_code == 404


async def test_paypal_is_connected_and_a_wrong_secret_is_named(page: httpx.AsyncClient) -> None:
    here = await connect(page, **PAYPAL)
    assert "CUSTOMER.DISPUTE.*" in (await page.get(here)).text
    tested = await page.post(f"{here}/test", data={"x": ""})
    assert "PayPal accepts the key." in tested.text
    moved = await page.post(f"{here}/renew", data={"client_id": "another-account-0123"})
    assert moved.status_code == 422  # connect another account as another gateway
    wrong = {"client_secret": "of-another-app-0123"}
    assert (await page.post(f"{here}/renew", data=wrong)).status_code == 303
    tested = await page.post(f"{here}/test", data={"x": ""})
    assert "PayPal cannot be used with this key." in tested.text


async def test_a_mistake_is_named_for_people(page: httpx.AsyncClient) -> None:
    for change, said in (
        ({"live": "yes"}, "For real money the key begins with sk_live_ or rk_live_."),
        ({"secret_key": "sk_live_0123456789"}, "For test money the key begins with sk_test_"),
        ({"secret_key": ""}, "For test money the key begins with sk_test_"),
        ({"webhook_secret": "short"}, "8 characters or more, without spaces."),
    ):
        answer = await page.post("/console/gateways/new", data={**STRIPE, **change})
        assert answer.status_code == 422
        assert said in answer.text
    here = await connect(page, **STRIPE)
    await page.post(f"{here}/test", data={"x": ""})
    other = await page.post(f"{here}/renew", data={"secret_key": stripe_server.KEY})
    assert other.status_code == 422
    assert "acct_of_the_tests" in other.text  # another account than the one that was tested


async def test_no_page_repeats_a_secret(
    page: httpx.AsyncClient, boss: SignedInMember, api: Instance
) -> None:
    """Neither when it was accepted nor when the form comes back with a mistake."""
    here = await connect(page, **STRIPE, webhook_secret=HOOK_SECRET)
    shown = [
        await page.get("/console/gateways"),
        await page.get(here),
        await page.post(f"{here}/test", data={"x": ""}),
        await page.post("/console/gateways/new", data={**STRIPE, "webhook_secret": HOOK_SECRET}),
        await page.post("/console/gateways/new", data={**STRIPE, "live": "yes"}),
        await page.post(f"{here}/renew", data={"secret_key": f"pk_{OWN_KEY}"}),
        await page.get("/console/audit"),
    ]
    assert [each.status_code for each in shown] == [200, 200, 200, 422, 422, 422, 200]
    for each in shown:
        assert OWN_KEY not in each.text
        assert HOOK_SECRET not in each.text
        assert each.headers["cache-control"] == "no-store"
    async with client_of(api, **boss.headers) as http:
        [found] = (await read(http, "/gateways"))["data"]
    assert found["takes_webhooks"] is True


async def test_hostile_and_foreign_fields_reach_nothing(
    page: httpx.AsyncClient, api: Instance
) -> None:
    for typed in HOSTILE:
        answer = await page.post(
            "/console/gateways/new", data={**STRIPE, "secret_key": typed, "webhook_secret": typed}
        )
        assert answer.status_code == 422
        assert typed not in answer.text
        asked = await page.get("/console/gateways/new", params={"provider": typed})
        assert asked.status_code == 404
    here = await connect(page, **STRIPE)
    for path in ("/console/gateways/x", "/console/gateways/..%2forders", "/console/gateways/new/x"):
        assert (await page.get(path)).status_code in {404, 405}
    async with client_of(api) as anonymous, page_client(api) as stranger:
        other = await register(anonymous)
        await sign_in(stranger, other.email)
        assert (await stranger.get(here)).status_code == 404
        for action in ("test", "renew", "on", "off"):
            forced = await stranger.post(f"{here}/{action}", data={"webhook_secret": HOOK_SECRET})
            assert forced.status_code == 404


async def test_a_secret_is_asked_for_only_after_a_recent_proof(
    page: httpx.AsyncClient, api: Instance, boss: SignedInMember, owner: Any
) -> None:
    here = await connect(page, **STRIPE)
    await age(owner, boss)
    async with page_client(api) as late:
        late.cookies = page.cookies

        async def is_late() -> bool:
            return (await late.get("/console/gateways/new?provider=paypal")).status_code == 303

        await until(is_late)
        led = await late.get("/console/gateways/new?provider=paypal")
        assert led.headers["location"] == (
            "/sign-in/again?next=%2Fconsole%2Fgateways%2Fnew%3Fprovider%3Dpaypal"
        )
        shown = await late.get(here)
        assert "prove again who you are" in shown.text
        for path in ("/console/members", "/console/keys", "/console/settings"):
            assert (
                f'href="/sign-in/again?next={quote(path, safe="")}"' in (await late.get(path)).text
            )
        assert not re.findall(r'action="/console/gateways[^"]*"', shown.text)
        for action in ("test", "renew", "off", "on"):
            forced = await late.post(f"{here}/{action}", data={"webhook_secret": HOOK_SECRET})
            assert forced.status_code == 303
            assert forced.headers["location"].startswith("/sign-in/again")
        forced = await late.post("/console/gateways/new", data=PAYPAL)
        assert forced.headers["location"].startswith("/sign-in/again")
        again = {"password": boss.password, "next": "/console/gateways/new?provider=paypal"}
        proved = await late.post("/sign-in/again", data=again)
        assert proved.headers["location"] == "/console/gateways/new?provider=paypal"
        assert (await late.get(proved.headers["location"])).status_code == 200
    async with client_of(api, **boss.headers) as http:
        [found] = (await read(http, "/gateways"))["data"]
    assert (found["state"], found["takes_webhooks"]) == ("on", False)


@pytest.mark.parametrize("role", ["manager", "cashier", "viewer"])
async def test_only_who_may_manage_keys_reaches_gateways(
    page: httpx.AsyncClient, api: Instance, boss: SignedInMember, role: str
) -> None:
    here = await connect(page, **STRIPE)
    async with client_of(api) as anonymous, page_client(api) as browser:
        other = await member(anonymous, boss, role)
        await sign_in(browser, other.email)
        for path in ("/console/gateways", here, "/console/gateways/new?provider=stripe"):
            assert (await browser.get(path)).status_code == 403
        for action in ("test", "renew", "on", "off"):
            assert (await browser.post(f"{here}/{action}", data={"x": ""})).status_code == 403
        assert (await browser.post("/console/gateways/new", data=PAYPAL)).status_code == 403
        front = await browser.get("/console/programs")
        assert "/console/gateways" not in front.text


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("settings", LOOKS)
async def test_the_pages_of_gateways_look_right(
    api: Instance,
    browser: Browser,
    boss: SignedInMember,
    settings: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    async with person(browser, api.base, **settings) as (_, page, found):
        seen = Measured(page, request.node.callspec.id, settings["script"])
        await sign_in_browser(page, boss.email)
        await page.goto("/console/gateways")
        await seen.look("gateways-none")
        await page.locator('.con__head a[href$="provider=stripe"]').click()
        await page.locator("#secret_key").fill("sk_live_0123456789")
        await page.locator(".panel__foot button.btn--main").click()
        await expect(page.locator("#secret_key-e")).to_be_visible()
        await expect(page.locator("#secret_key")).to_have_value("")
        await seen.look("gateway-new-mistake")
        await page.locator("#secret_key").fill(OWN_KEY)
        await page.locator(".panel__foot button.btn--main").click()
        await expect(page).to_have_url(re.compile(r"/console/gateways/gtw_\w+\?done=connected"))
        await seen.look("gateway")
        await page.locator("#webhook_secret").fill(HOOK_SECRET)
        await page.locator(".panel__foot button.btn--main").click()
        await page.locator(".con__head form button").click()
        await expect(page.locator(".note--ok").first).to_contain_text("acct_of_a_merchant")
        await seen.look("gateway-tested")
        await page.locator('.con__head button[popovertarget="dlg-off"]').click()
        await seen.look("gateway-off-dialog")
        await page.locator("#dlg-off button.btn--stop-main").click()
        await expect(page.locator(".state--off, .state").first).to_be_visible()
        await page.goto("/console/gateways/new?provider=paypal")
        await seen.look("gateway-new-paypal")
        await page.goto("/console/gateways")
        await seen.look("gateways")
        require_clean(found)
