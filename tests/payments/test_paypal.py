"""Orders paid by PayPal: Florin's client against a server with PayPal's protocol and faults."""

import json
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateways.paypal import PayPalGateway
from tests.orders.selling import accounts, explained
from tests.orders.test_orders import selling
from tests.payments.test_stripe import becomes, events
from tests.support import paypal_server
from tests.support.api_calls import Json, balanced, made, post, problem, read, redeem
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.members import client_of
from tests.support.paypal_server import CLIENT, SECRET, WEBHOOK, PayPalServer
from tests.support.waiting import until
from tests.support.webhook_sender import post_webhook


@pytest.fixture(scope="module")
def paypal() -> Iterator[PayPalServer]:
    with paypal_server.paypal_server() as server:
        yield server


def variables(paypal: PayPalServer) -> dict[str, str]:
    return {
        "PAYPAL_CLIENT_ID": CLIENT,
        "PAYPAL_CLIENT_SECRET": SECRET,
        "PAYPAL_WEBHOOK_ID": WEBHOOK,
        "PAYPAL_URL": paypal.url,
    }


@pytest.fixture(scope="module")
def paid_api(urls: Any, paypal: PayPalServer) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **variables(paypal)) as run:
        yield run


@pytest.fixture
async def till(paid_api: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(paid_api, **shop.headers) as client:
        yield client


@pytest.fixture
def worker(workers: Any, paypal: PayPalServer, paid_api: Instance) -> Iterator[PayPalServer]:
    workers.start(**variables(paypal))
    paypal.webhook_url = f"{paid_api.base}/api/v1/hooks/paypal/default"
    paypal.answers.clear()
    yield paypal
    paypal.settle_webhooks()
    paypal.webhook_url = None
    paypal.copies, paypal.drop_answers, paypal.away = 1, 0, False


async def place(http: httpx.AsyncClient, shop: Shop, amount: int = 5000) -> tuple[Json, str]:
    """An order for PayPal; return it and PayPal's own."""
    body = {
        "items": [{"program": shop.program, "amount": amount}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": "paypal",
    }
    order = await made(http, "/orders", body)
    payment = await read(http, f"/payments/{order['payment']}")
    return order, payment["reference"]


async def browse(url: str) -> str:
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as browser:
        return (await browser.get(url)).text


async def test_an_approved_order_is_captured_without_the_buyer(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer, owner: Any
) -> None:
    """R11: the webhook of the approval captures, however often it comes."""
    worker.copies = 4
    order, reference = await place(till, shop)
    assert reference in order["pay_url"]
    worker.approve(reference)
    found = await becomes(till, order, "fulfilled")
    worker.settle_webhooks()
    assert set(worker.answers) == {200}
    assert len(found["items"][0]["cards"]) == 1
    assert await accounts(till) == {
        "card": -5000, "gateway_clearing": 5000 - 175, "gateway_fees": 175,
    }  # fmt: skip
    await explained(owner, shop)
    await balanced(till)


async def test_the_return_page_captures_once(
    till: httpx.AsyncClient, shop: Shop, paypal: PayPalServer
) -> None:
    """The answer to the capture is lost: the same key finds it."""
    order, reference = await place(till, shop)
    paypal.approve(reference)
    paypal.drop_answers = 1
    assert "Paid" in await browse(order["url"])
    assert (await read(till, f"/orders/{order['id']}"))["state"] == "fulfilled"
    assert len(paypal.orders[reference]["purchase_units"][0]["payments"]["captures"]) == 1


async def test_a_lost_answer_makes_no_second_order(
    till: httpx.AsyncClient, shop: Shop, paypal: PayPalServer
) -> None:
    before = len(paypal.orders)
    paypal.drop_answers = 1
    await place(till, shop)
    assert len(paypal.orders) == before + 1


async def test_a_pending_capture_is_no_money(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer
) -> None:
    """R28."""
    worker.pending = True
    order, reference = await place(till, shop)
    worker.approve(reference)

    async def processing() -> bool:
        return (await read(till, f"/payments/{order['payment']}"))["state"] == "processing"

    await until(processing, within_s=40)
    assert (await read(till, f"/orders/{order['id']}"))["items"][0]["cards"] == []
    worker.complete(reference)
    await becomes(till, order, "fulfilled")


async def test_a_declined_instrument_can_be_changed(
    till: httpx.AsyncClient, shop: Shop, paypal: PayPalServer
) -> None:
    """The buyer chooses another one on PayPal's page."""
    order, reference = await place(till, shop)
    paypal.decline = True
    paypal.approve(reference)
    await browse(order["url"])
    assert (await read(till, f"/payments/{order['payment']}"))["state"] == "open"
    paypal.approve(reference)
    problem(await post(till, f"/orders/{order['id']}/cancel"), 402, "order_paid")
    assert (await read(till, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_nothing_is_captured_for_a_cancelled_order(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer
) -> None:
    order, reference = await place(till, shop)
    await made(till, f"/orders/{order['id']}/cancel", status=200)
    worker.approve(reference)

    async def expired() -> bool:
        return (await read(till, f"/payments/{order['payment']}"))["state"] == "expired"

    await until(expired, within_s=40)
    assert "payments" not in worker.orders[reference]["purchase_units"][0]


async def test_refunds(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer, owner: Any
) -> None:
    order, reference = await place(till, shop)
    worker.approve(reference)
    found = await becomes(till, order, "fulfilled")
    await redeem(till, {"id": found["items"][0]["cards"][0]}, 2000)
    worker.drop_answers = 1
    refund = await made(till, f"/orders/{order['id']}/refunds", {})
    assert (refund["amount"], refund["state"]) == (3000, "done")
    [at_paypal] = worker.orders[reference]["purchase_units"][0]["payments"]["refunds"]
    assert at_paypal["custom_id"] == ids.require_id("prf", refund["id"]).hex
    worker.refund(reference, "5.00")

    async def adopted() -> bool:
        return len((await read(till, "/payment-refunds"))["data"]) == 2

    await until(adopted, within_s=40)
    newest = (await read(till, "/payment-refunds"))["data"][0]
    assert (newest["adopted"], newest["amount"], newest["loss"]) == (True, 500, 500)
    await explained(owner, shop)
    await balanced(till)


async def test_a_refund_waits_for_funds(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer
) -> None:
    """The account lacks them now: no definite refusal, so the value stays off the card."""
    order, reference = await place(till, shop)
    worker.approve(reference)
    found = await becomes(till, order, "fulfilled")
    worker.poor = True
    try:
        refund = await made(till, f"/orders/{order['id']}/refunds", {})
    finally:
        worker.poor = False
    assert refund["state"] == "asked"
    assert (await read(till, f"/cards/{found['items'][0]['cards'][0]}"))["balance"] == 0

    async def is_done() -> bool:
        return (await read(till, f"/payment-refunds/{refund['id']}"))["state"] == "done"

    await until(is_done, within_s=40)


async def test_disputes(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer, owner: Any
) -> None:
    order, reference = await place(till, shop)
    worker.approve(reference)
    found = await becomes(till, order, "fulfilled")
    card = f"/cards/{found['items'][0]['cards'][0]}"
    dispute = worker.dispute(reference)

    async def state(wanted: str) -> None:
        async def there() -> bool:
            return (await read(till, card))["state"] == wanted

        await until(there, within_s=40)

    await state("blocked")
    [noted] = (await read(till, "/disputes"))["data"]
    assert noted["due_at"] == "2099-01-01T00:00:00Z"
    worker.resolve(dispute, "RESOLVED_BUYER_FAVOUR")
    await state("closed")
    [noted] = (await read(till, "/disputes"))["data"]
    assert noted["due_at"] is None
    assert await accounts(till) == {"gateway_clearing": -175, "gateway_fees": 175}
    await explained(owner, shop)
    await balanced(till)


async def test_the_outcomes_of_disputes(
    till: httpx.AsyncClient, shop: Shop, paypal: PayPalServer, database: Database
) -> None:
    """Of an outcome that is not known nothing is guessed: the look is repeated."""
    order, reference = await place(till, shop)
    paypal.approve(reference)
    assert "Paid" in await browse(order["url"])
    services, _ = selling(database, **variables(paypal))
    payment = ids.require_id("pay", order["payment"])

    async def state() -> str:
        await services.looker.look(shop.merchant, payment)
        [noted] = (await read(till, "/disputes"))["data"]
        return str(noted["state"])

    dispute = paypal.dispute(reference)
    assert await state() == "open"
    for unknown in ("ANOTHER", None):
        paypal.resolve(dispute, unknown)
        with pytest.raises(GatewayUnavailable, match="unknown outcome"):
            await state()
        assert [each["state"] for each in (await read(till, "/disputes"))["data"]] == ["open"]
    paypal.resolve(dispute, "NONE")
    assert await state() == "closed"
    await services.gateways.close()


async def test_lost_webhooks_are_found_by_listing_events(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer, owner: Any
) -> None:
    worker.copies = 0
    order, reference = await place(till, shop)
    worker.approve(reference)
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'catch-up', '{}')"
    )
    await becomes(till, order, "fulfilled")


async def test_only_authentic_webhooks_are_received(
    till: httpx.AsyncClient,
    shop: Shop,
    paid_api: Instance,
    api: Instance,
    paypal: PayPalServer,
    owner: Any,
) -> None:
    """R13, R37: PayPal itself verifies the raw bytes."""
    url = f"{paid_api.base}/api/v1/hooks/paypal/default"
    _, reference = await place(till, shop)
    event = {"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": reference}}
    body = json.dumps({**event, "x": 1.0, "y": {}, "z": "é"}, indent=3).encode()
    good = paypal.sign(body)
    for wrong in (
        {},
        {**good, "paypal-transmission-sig": "another"},
        {name: value for name, value in good.items() if name != "paypal-cert-url"},
        paypal.sign(body + b" "),
    ):
        assert post_webhook(url, body, wrong) == 400, wrong
    assert post_webhook(url, b"\xff", paypal.sign(b"\xff")) == 400
    assert await events(owner, shop) == []
    assert post_webhook(url, body, good) == 200
    assert await events(owner, shop) == [("WH-1", 1)]
    foreign = json.dumps({"id": "WH-2", "event_type": "X", "resource": {}}).encode()
    assert post_webhook(url, foreign, paypal.sign(foreign)) == 200
    paypal.away = True
    try:
        assert post_webhook(url, body, good) == 503  # PayPal sends it again later
    finally:
        paypal.away = False
    # Without the id of the webhook there is no address.
    assert post_webhook(f"{api.base}/api/v1/hooks/paypal/default", body, good) == 404


async def test_an_order_is_paid_into_the_own_gateway(
    till: httpx.AsyncClient, shop: Shop, worker: PayPalServer, paid_api: Instance, owner: Any
) -> None:
    body = {"provider": "paypal", "live": False, "client_id": CLIENT, "client_secret": SECRET}
    for change, param in (
        ({"client_id": None}, "client_id"),
        ({"secret_key": "sk_test_of_the_tests"}, "secret_key"),
        ({"webhook_id": "a b c d e f"}, "webhook_id"),
    ):
        refused = await till.post("/gateways", json={**body, **change})
        problem(refused, 422, "invalid_request", param=param)
    gateway = await made(till, "/gateways", {**body, "webhook_id": WEBHOOK})
    assert SECRET not in str(gateway)
    check = (await till.post(f"/gateways/{gateway['id']}/test")).json()
    assert (check["ok"], check["account"], check["webhook_problem"]) == (True, CLIENT, None)
    worker.webhook_url = f"{paid_api.base}{gateway['webhook_path']}"
    order, reference = await place(till, shop)
    assert (await read(till, f"/payments/{order['payment']}"))["gateway"] == gateway["id"]
    worker.approve(reference)
    await becomes(till, order, "fulfilled")
    refund = await made(till, f"/orders/{order['id']}/refunds", {"amount": 200})

    async def done() -> bool:
        return (await read(till, f"/payment-refunds/{refund['id']}"))["state"] == "done"

    await until(done, within_s=40)
    await explained(owner, shop)
    await balanced(till)
    await till.patch(f"/gateways/{gateway['id']}", json={"client_secret": "another-secret"})
    check = (await till.post(f"/gateways/{gateway['id']}/test")).json()
    assert check["ok"] is False


async def test_more_events_than_paypal_lists_at_once(paypal: PayPalServer) -> None:
    """400 events, of which most are of a few seconds: each window is read in halves."""
    gateway = PayPalGateway(CLIENT, SECRET, webhook_id=WEBHOOK, real_money=False, url=paypal.url)
    now, before = datetime.now(UTC), list(paypal.events)

    def event(n: int) -> Json:
        at = (
            now - timedelta(seconds=1800 - (n // 40))
            if n < 380
            else now - timedelta(minutes=n - 375)
        )
        made_at = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"id": f"WH-{n}", "event_type": "X", "create_time": made_at, "resource": {}}

    paypal.events[:] = [event(n) for n in range(400)]
    paypal.log.clear()
    try:
        found = await gateway.recent_events(now - timedelta(hours=1))
    finally:
        paypal.events[:] = before
        await gateway.close()
    assert sorted(each.ref for each in found) == sorted(f"WH-{n}" for n in range(400))
    assert len(paypal.log) > 2


async def test_a_fee_in_the_currency_of_the_account_is_booked_in_it(
    till: httpx.AsyncClient, shop: Shop, paypal: PayPalServer, owner: Any
) -> None:
    order, reference = await place(till, shop)
    paypal.fee_currency = "USD"
    try:
        paypal.approve(reference)
        assert "Paid" in await browse(order["url"])
    finally:
        paypal.fee_currency = None
    payment = await read(till, f"/payments/{order['payment']}")
    assert (payment["fee"], payment["fee_currency"]) == (175, "USD")
    found = await read(till, "/reports/gateway", currency="USD")
    assert (found["fees"], found["pending"]) == (175, -175)
    await explained(owner, shop)
    await balanced(till)
