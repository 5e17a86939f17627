"""Console: orders, deliveries, webhooks, the test clock and gateways' money, over HTTP."""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import pytest
from markupsafe import escape

from tests.conftest import Urls
from tests.orders.selling import buy, buy_in_review, dashboard, place
from tests.support.api_calls import Json, issue, made, read, redeem
from tests.support.instance import Instance, Shop, instance
from tests.support.members import SignedInMember, client_of, member, register, uuid_of
from tests.support.page_client import hidden_fields, page_client, sign_in
from tests.support.receivers.webhook_receiver import WebhookReceiver, status, webhook_receiver
from tests.support.waiting import until
from tests.support.workers import Crew
from tests.web.test_journeys import HOSTILE

ALLOW = {"FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}
PROGRAM = {"name": "Harbour card", "currency": "EUR", "min_amount": 500, "max_amount": 50_000}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **ALLOW) as running:
        yield running


async def press(browser: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form as a browser does: also one without fields has its media type."""
    return await browser.post(path, data={"key": uuid.uuid4().hex, **fields})


@dataclass(frozen=True, slots=True)
class Seller:
    """A merchant's owner: with the API, and signed in to the pages."""

    owner: SignedInMember
    api: httpx.AsyncClient
    browser: httpx.AsyncClient
    shop: Shop

    async def act(self, path: str, **fields: str) -> httpx.Response:
        """Send a form; it must lead on."""
        answer = await press(self.browser, path, **fields)
        assert answer.status_code == 303, answer.text
        return await self.browser.get(answer.headers["location"])


@pytest.fixture
async def seller(api: Instance) -> AsyncGenerator[Seller]:
    async with client_of(api) as anonymous:
        boss = await register(anonymous)
    async with client_of(api, **boss.headers) as client, page_client(api) as browser:
        program = await made(client, "/programs", PROGRAM)
        await sign_in(browser, boss.email)
        merchant = uuid_of("mer", boss.tokens["merchant"]["id"])
        yield Seller(boss, client, browser, Shop(merchant, program["id"], ""))


@pytest.fixture
async def receiver() -> AsyncGenerator[WebhookReceiver]:
    async with webhook_receiver() as listening:
        yield listening


async def endpoint_of(seller: Seller, url: str = "http://127.0.0.1:9/hook") -> Json:
    return await made(seller.api, "/webhook-endpoints", {"url": url, "events": ["*"]})


async def test_orders_are_found_by_what_is_known_of_them(seller: Seller) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    page = await seller.browser.get("/console/orders")
    assert f"/console/orders/{order['id']}" in page.text
    assert "€50.00" in page.text
    for known in (order["id"], order["payment"]):
        found = await seller.browser.get("/console/orders", params={"q": known})
        assert found.headers["location"] == f"/console/orders/{order['id']}"
    by_buyer = await seller.browser.get("/console/orders?q=buyer@example.com&state=fulfilled")
    assert order["id"] in by_buyer.text
    for other in ({"q": "other@example.com"}, {"state": "cancelled"}, {"q": "pay_" + "0" * 32}):
        assert order["id"] not in (await seller.browser.get("/console/orders", params=other)).text


async def test_an_order_is_refunded_with_a_reason(seller: Seller) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    await redeem(seller.api, {"id": order["items"][0]["cards"][0]}, 1250)
    here = f"/console/orders/{order['id']}"
    form = hidden_fields((await seller.browser.get(here)).text)
    unsaid = await seller.browser.post(f"{here}/refund", data={**form, "amount": "10.00"})
    assert unsaid.status_code == 422
    assert "Say why. The reason stays with the refund." in unsaid.text
    too_much = {**form, "amount": "40.00", "reason": "changed mind"}
    refused = await seller.browser.post(f"{here}/refund", data=too_much)
    assert refused.status_code == 402
    assert "€37.50 is unspent" in refused.text
    sent = {**form, "amount": "10.00", "reason": "<b>changed</b> mind"}
    await seller.act(f"{here}/refund", **sent)
    page = await seller.act(f"{here}/refund", **sent)  # a second press changes nothing
    assert "&lt;b&gt;changed&lt;/b&gt; mind" in page.text
    [refund] = (await read(seller.api, "/payment-refunds"))["data"]
    assert (refund["amount"], refund["reason"]) == (1000, "<b>changed</b> mind")
    beyond = {"key": "k-beyond", "amount": "40.00", "reason": "goodwill", "beyond": "yes"}
    await seller.act(f"{here}/refund", **beyond)
    amounts = [each["amount"] for each in (await read(seller.api, "/payment-refunds"))["data"]]
    assert sorted(amounts) == [1000, 4000]


async def test_an_order_is_cancelled_paid_again_and_withdrawn(seller: Seller) -> None:
    order = await place(seller.api, seller.shop, 2500)
    here = f"/console/orders/{order['id']}"
    await seller.act(f"{here}/retry")
    assert len((await read(seller.api, "/payments", order=order["id"]))["data"]) == 2
    await seller.act(f"{here}/cancel")
    assert (await read(seller.api, f"/orders/{order['id']}"))["state"] == "cancelled"
    refused = await press(seller.browser, f"{here}/retry")
    assert refused.status_code == 402
    paid = await buy(seller.api, seller.shop, 2500)
    await seller.act(f"/console/orders/{paid['id']}/withdraw")
    withdrawn = await read(seller.api, f"/orders/{paid['id']}")
    assert withdrawn["withdrawn_at"]
    assert withdrawn["refunded"] == 2500
    assert (await press(seller.browser, f"{here}/fly")).status_code == 404


async def test_a_dispute_stands_with_its_order(seller: Seller) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    here = f"/console/orders/{order['id']}"
    page = await seller.act(f"{here}/gateway-dispute", payment=order["payment"])
    assert "1 card blocked" in page.text
    listed = await seller.browser.get("/console/disputes")
    assert order["payment"] in listed.text
    refused = await seller.browser.post(f"{here}/refund", data={"key": "k", "reason": "x"})
    assert refused.status_code == 402
    await seller.act(f"{here}/gateway-win", payment=order["payment"])
    [dispute] = (await read(seller.api, "/disputes"))["data"]
    assert dispute["state"] == "won"


async def test_a_delivery_is_corrected_cancelled_and_sent_again(seller: Seller) -> None:
    recipient = {"name": "Tomás", "email": "tomsa@example.com"}
    card = await issue(
        seller.api, seller.shop, 2500, recipient=recipient, deliver={"channel": "email"}
    )
    here = f"/console/deliveries/{card['delivery']}"
    for query in ({}, {"state": "due"}, {"card": card["id"]}):
        listed = await seller.browser.get("/console/deliveries", params=query)
        assert here in listed.text
    for query in ({"state": "bounced"}, {"card": "crd_" + "0" * 32}, {"card": "no id"}):
        assert here not in (await seller.browser.get("/console/deliveries", params=query)).text
    wrong = await seller.browser.post(f"{here}/change", data={"address": "no address"})
    assert wrong.status_code == 422
    no_day = await seller.browser.post(f"{here}/change", data={"day": "tomorrow"})
    assert no_day.status_code == 422
    later = {"address": "tomas@example.com", "day": "2031-12-24", "time": "09:00"}
    await seller.act(f"{here}/change", **later)
    changed = await read(seller.api, f"/deliveries/{card['delivery']}")
    assert changed["address"] == "tomas@example.com"
    assert changed["due_at"].startswith("2031-12-24T09:00")
    early = await press(seller.browser, f"{here}/resend")
    assert early.status_code == 409
    await seller.act(f"{here}/cancel")
    await seller.act(f"{here}/resend")
    assert (await read(seller.api, f"/deliveries/{card['delivery']}"))["state"] == "due"
    await seller.act(f"{here}/cancel")
    page = await seller.act(f"{here}/resend-new-code")
    assert "The card has a new code" in page.text
    old = await seller.api.post("/cards/lookup", json={"code": card["code"]})
    assert old.status_code == 404


async def test_the_secret_of_an_endpoint_is_shown_once(seller: Seller) -> None:
    form = hidden_fields((await seller.browser.get("/console/webhooks")).text)
    typed = {**form, "url": "http://127.0.0.1:9/in", "events": "card.*, order.paid"}
    shown = await seller.browser.post("/console/webhooks", data=typed)
    [secret] = re.findall(r"whsec_[\w+/=]+", shown.text)[:1]
    [endpoint] = (await read(seller.api, "/webhook-endpoints"))["data"]
    assert endpoint["events"] == ["card.*", "order.paid"]
    here = f"/console/webhooks/{endpoint['id']}"
    assert "whsec_" not in (await seller.browser.get(here)).text
    assert "whsec_" not in (await seller.browser.get("/console/webhooks")).text
    rotated = await press(seller.browser, f"{here}/rotate-secret")
    [fresh] = re.findall(r"whsec_[\w+/=]+", rotated.text)[:1]
    assert fresh != secret
    for wrong in ({"url": "http://10.0.0.1/"}, {"url": "x", "events": "Card!"}):
        refused = await seller.browser.post("/console/webhooks", data=wrong)
        assert refused.status_code == 422
        assert 'href="#' in refused.text
    await seller.act(f"{here}/disable")
    replayed = await seller.browser.post(f"{here}/replay", data={"day": "2026-01-01"})
    assert replayed.status_code == 422
    assert (await seller.browser.post(f"{here}/replay", data={"day": "x"})).status_code == 422
    await seller.act(f"{here}/enable")
    await seller.act(f"{here}/replay", day="2026-01-01")
    await seller.act(f"{here}/change", url="http://127.0.0.1:9/other", events="*")
    assert (await read(seller.api, f"/webhook-endpoints/{endpoint['id']}"))["events"] == ["*"]
    await seller.act(f"{here}/disable")
    await seller.act(f"{here}/delete")
    assert not (await read(seller.api, "/webhook-endpoints"))["data"]


async def test_how_an_endpoint_answered_is_shown_and_sent_again(
    seller: Seller, receiver: WebhookReceiver, workers: Crew
) -> None:
    receiver.answers["/hook"] = lambda: status(500, "<script>window.broken=1</script>no stock")
    endpoint = await endpoint_of(seller, receiver.url())
    workers.start(**ALLOW)
    here = f"/console/webhooks/{endpoint['id']}"
    await issue(seller.api, seller.shop, 2500)

    async def answered() -> str:
        text = (await seller.browser.get(here)).text
        return text if "no stock" in text else ""

    page: str = await until(answered)
    assert "<script>window" not in page
    assert "500" in page
    receiver.answers.clear()
    receiver.secrets["/hook"] = endpoint["secret"]
    delivery = re.findall(r'name="delivery" value="(whd_\w+)"', page)[0]
    await seller.act(f"{here}/resend", delivery=delivery)

    async def delivered() -> bool:
        found = await read(seller.api, f"/webhook-deliveries/{delivery}")
        return found["state"] == "delivered"

    await until(delivered)
    listed = await seller.browser.get(here, params={"state": "delivered"})
    assert delivery in listed.text


async def test_the_clock_of_a_test_merchant_is_moved(api: Instance, workers: Crew) -> None:
    async with client_of(api) as anonymous, page_client(api) as browser:
        boss = await register(anonymous)
        await sign_in(browser, boss.email)
        assert (await browser.get("/console/clock")).status_code == 404  # not a test merchant
        assert (await browser.post("/console/clock", data={"by": "day"})).status_code == 404
        fields = {
            "name": "Try", "country": "IE", "currency": "EUR", "timezone": "Europe/Dublin",
            "email": f"test.{boss.email}", "password": boss.password, "test": "on",
        }  # fmt: skip
        browser.cookies.clear()
        assert (await browser.post("/sign-up", data=fields)).status_code == 303
        page = await browser.get("/console/clock")
        assert 'class="clock"' in page.text
        before = _shown_time(page.text)
        for wrong in ("../cards", "job_x", "x/../../cards"):
            assert (await browser.get("/console/clock", params={"job": wrong})).status_code == 404
        for wrong in ({"by": "century"}, {"day": "2020-01-01"}, {"day": "x"}):
            assert (await browser.post("/console/clock", data=wrong)).status_code in {404, 422}
        moved = await browser.post("/console/clock", data={"by": "week"})
        assert moved.status_code == 303
        again = await browser.post("/console/clock", data={"by": "week"})
        assert again.status_code == 422
        assert "data-refresh" in (await browser.get(moved.headers["location"])).text
        workers.start(**ALLOW)

        async def finished() -> str:
            text = (await browser.get(moved.headers["location"])).text
            return "" if "data-refresh" in text else text

        text: str = await until(finished)
        ahead = _shown_time(text) - before
        assert timedelta(days=7) <= ahead < timedelta(days=7, minutes=5)
        assert "Finished" in text


def _shown_time(html: str) -> datetime:
    [shown] = re.findall(r'<time datetime="([^"]+)"', html)
    return datetime.fromisoformat(shown)


async def test_money_at_gateways_and_what_is_unexplained(seller: Seller) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    await dashboard(seller.api, order, "refund", amount=1000)
    page = await seller.browser.get("/console/reports/gateway")
    assert "€50.00" in page.text
    assert "\N{MINUS SIGN}€10.00" in page.text
    before = await seller.browser.get("/console/reports/gateway", params={"last": "2020-12-31"})
    assert "€50.00" not in before.text
    for wrong in ("yesterday", "9999-12-31"):
        answer = await seller.browser.get("/console/reports/gateway", params={"last": wrong})
        assert answer.status_code == 422
    review = await buy_in_review(seller.api, seller.shop, 7300)
    assert review["state"] == "review"
    listed = await seller.browser.get("/console/reports/gateway")
    assert f"/console/orders/{review['id']}" in listed.text
    assert "€73.00" in listed.text
    here = f"/console/orders/{review['id']}"
    assert "A member has to decide" in (await seller.browser.get(here)).text
    await seller.act(f"{here}/refund", reason="the card is blocked")
    assert "€73.00" not in (await seller.browser.get("/console/reports/gateway")).text


FORMS = [
    ("orders", "/console/orders/{order}", ("refund", "cancel", "retry", "withdraw", "gateway-win")),
    ("deliveries", "/console/deliveries/{delivery}", ("resend", "cancel", "change")),
    ("webhooks", "/console/webhooks/{endpoint}", ("rotate-secret", "replay", "disable", "delete")),
]


async def test_a_role_without_the_right_sees_no_action_and_is_refused(
    api: Instance, seller: Seller
) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    recipient = {"email": "tomas@example.com"}
    card = await issue(
        seller.api, seller.shop, 2500, recipient=recipient, deliver={"channel": "email"}
    )
    endpoint = await endpoint_of(seller)
    names = {"order": order["id"], "delivery": card["delivery"], "endpoint": endpoint["id"]}
    async with client_of(api) as anonymous:
        people = {
            role: await member(anonymous, seller.owner, role) for role in ("viewer", "cashier")
        }
    for role, person in people.items():
        async with page_client(api) as browser:
            await sign_in(browser, person.email)
            for noun, template, actions in FORMS:
                here = template.format(**names)
                for path in (f"/console/{noun}", here):
                    page = await browser.get(path)
                    assert page.status_code == (200 if role == "viewer" else 403), (role, path)
                    posts = re.findall(r'method="post" action="(/console[^"]*)"', page.text)
                    assert not posts, (role, path)
                for action in actions:
                    forced = await browser.post(f"{here}/{action}", data={"key": "k"})
                    assert forced.status_code == 403, (role, here, action)
            forced = await browser.post("/console/webhooks", data={"url": "http://127.0.0.1:9/"})
            assert forced.status_code == 403
            assert (await browser.get("/console/clock")).status_code == 403
    assert (await read(seller.api, f"/orders/{order['id']}"))["refunded"] == 0
    async with client_of(api) as anonymous:
        manager = await member(anonymous, seller.owner, "manager")
    async with page_client(api) as browser:
        await sign_in(browser, manager.email)
        beyond = {"key": "b", "amount": "50.00", "reason": "x", "beyond": "yes"}
        page = await browser.get(f"/console/orders/{order['id']}")
        assert 'name="beyond"' not in page.text
        refused = await browser.post(f"/console/orders/{order['id']}/refund", data=beyond)
        assert refused.status_code == 403  # only an owner


async def test_another_merchant_sees_nothing_of_it(api: Instance, seller: Seller) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    card = await issue(seller.api, seller.shop, 2500, deliver={"channel": "link"})
    endpoint = await endpoint_of(seller)
    async with client_of(api) as anonymous, page_client(api) as browser:
        other = await register(anonymous)
        await sign_in(browser, other.email)
        paths = [
            f"/console/orders/{order['id']}",
            f"/console/deliveries/{card['delivery']}",
            f"/console/webhooks/{endpoint['id']}",
        ]
        for path in paths:
            assert (await browser.get(path)).status_code == 404
        for path in (f"{paths[0]}/cancel", f"{paths[1]}/cancel", f"{paths[2]}/disable"):
            assert (await press(browser, path)).status_code == 404
        forged = await browser.post(f"{paths[0]}/gateway-lose", data={"payment": order["payment"]})
        assert forged.status_code == 404


async def test_what_hostile_people_typed_stays_text(seller: Seller) -> None:
    for typed in HOSTILE:
        item = {"program": seller.shop.program, "amount": 5000, "message": typed}
        body = {
            "items": [{**item, "recipient": {"name": typed}}],
            "buyer": {"email": "b@example.com", "name": typed},
            "gateway": "test",
            "metadata": {"note": typed},
        }
        order = await made(seller.api, "/orders", body)
        endpoint = {"url": "http://127.0.0.1:9/", "events": ["*"], "description": typed}
        hook = await made(seller.api, "/webhook-endpoints", endpoint)
        here = f"/console/webhooks/{hook['id']}"
        shown = [f"/console/orders/{order['id']}", "/console/orders", here, "/console/webhooks"]
        for path in shown:
            page = await seller.browser.get(path)
            assert str(escape(typed)) in page.text, path
            assert typed == str(escape(typed)) or typed not in page.text, path
        searched = [
            ("/console/orders", "q"),
            ("/console/deliveries", "card"),
            ("/console/reports/gateway", "first"),
        ]
        for path, name in searched:
            page = await seller.browser.get(path, params={name: typed})
            assert page.status_code in {200, 422}
            assert str(escape(typed)) in page.text, path
        for action, name in [("resend", "delivery"), ("replay", "day"), ("change", "url")]:
            answer = await seller.browser.post(f"{here}/{action}", data={name: typed})
            assert answer.status_code in {404, 422}, action
            assert typed == str(escape(typed)) or typed not in answer.text, action


@pytest.mark.parametrize("stolen", ["../orders", "../../payments", "", "pay_x/refund?"])
async def test_a_hidden_field_names_a_thing_and_no_other_route(seller: Seller, stolen: str) -> None:
    order = await buy(seller.api, seller.shop, 5000)
    here = f"/console/orders/{order['id']}/gateway-dispute"
    assert (await seller.browser.post(here, data={"payment": stolen})).status_code == 404
    endpoint = await endpoint_of(seller)
    again = f"/console/webhooks/{endpoint['id']}/resend"
    assert (await seller.browser.post(again, data={"delivery": stolen})).status_code == 404
