"""Orders paid by Stripe: the real SDK against a server with Stripe's protocol and faults."""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from tests.orders.selling import accounts, explained
from tests.orders.test_orders import selling
from tests.support import stripe_server
from tests.support.api_calls import Json, balanced, made, post, problem, read, redeem
from tests.support.instance import NO_TLS, Instance, Shop, instance
from tests.support.members import client_of
from tests.support.stripe_server import KEY, SECRET, StripeServer, sign
from tests.support.waiting import until
from tests.support.webhook_sender import post_webhook


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    with stripe_server.stripe_server() as server:
        yield server


def variables(stripe: StripeServer) -> dict[str, str]:
    return {
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_URL": stripe.url,
    }


@pytest.fixture(scope="module")
def paid_api(urls: Any, stripe: StripeServer) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **variables(stripe)) as run:
        yield run


@pytest.fixture
async def till(paid_api: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(paid_api, **shop.headers) as client:
        yield client


@pytest.fixture
def worker(workers: Any, stripe: StripeServer, paid_api: Instance) -> Iterator[StripeServer]:
    """Stripe with its webhooks, and a worker that acts on them."""
    workers.start(**variables(stripe))
    stripe.webhook_url = f"{paid_api.base}/api/v1/hooks/stripe/default"
    stripe.answers.clear()
    yield stripe
    stripe.settle_webhooks()
    stripe.webhook_url = None
    stripe.copies, stripe.delay_s, stripe.drop_answers, stripe.away = 1, 0, 0, False


async def place(http: httpx.AsyncClient, shop: Shop, amount: int = 5000) -> tuple[Json, str]:
    """An order for Stripe; return it and its session."""
    body = {
        "items": [{"program": shop.program, "amount": amount}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": "stripe",
    }
    order = await made(http, "/orders", body)
    payment = await read(http, f"/payments/{order['payment']}")
    return order, payment["reference"]


async def events(owner: Any, shop: Shop) -> list[tuple[str, int]]:
    """The events in the merchant's inbox, and how often each came."""
    rows = await owner.fetch(
        "select event_ref, seen from florin.gateway_event where merchant = $1", shop.merchant
    )
    return [(row["event_ref"], row["seen"]) for row in rows]


async def becomes(http: httpx.AsyncClient, order: Json, state: str) -> Json:
    async def there() -> Any:
        found = await read(http, f"/orders/{order['id']}")
        return found if found["state"] == state else None

    found: Json = await until(there, within_s=40)
    return found


async def test_a_session_is_made_of_the_order(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    order, reference = await place(till, shop)
    session = next(each for each in stripe.all_of("checkout.session") if each["id"] == reference)
    assert order["pay_url"] == session["url"]
    assert (session["amount_total"], session["currency"]) == (5000, "eur")
    assert session["success_url"] == order["url"]
    payment = ids.require_id("pay", order["payment"]).hex
    assert session["client_reference_id"] == session["metadata"]["florin_payment"] == payment
    assert session["_intent_metadata"] == session["metadata"]


async def test_a_webhook_settles_however_often_it_comes(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    """R6, R7, R8, R10: five copies of every webhook, in any order."""
    worker.copies, worker.delay_s = 5, 0.3
    order, session = await place(till, shop)
    worker.pay(session)
    found = await becomes(till, order, "fulfilled")
    worker.settle_webhooks()
    assert worker.answers
    assert set(worker.answers) == {200}
    assert len(found["items"][0]["cards"]) == 1
    assert await accounts(till) == {
        "card": -5000, "gateway_clearing": 5000 - 59, "gateway_fees": 59,
    }  # fmt: skip
    await explained(owner, shop)
    await balanced(till)


async def test_the_return_page_settles_without_webhooks(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    order, session = await place(till, shop)
    stripe.pay(session)
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as browser:
        assert "Paid" in (await browser.get(order["url"])).text
    assert (await read(till, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_lost_webhooks_are_found_by_looking(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    """R11: no webhook, no return; the poll settles."""
    worker.copies = 0
    order, session = await place(till, shop)
    worker.pay(session)
    await owner.execute("update florin.payment set look_due = clock_timestamp()")
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'due', '{}')"
    )
    await becomes(till, order, "fulfilled")


async def test_lost_webhooks_are_found_by_listing_events(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    worker.copies = 0
    order, session = await place(till, shop)
    worker.pay(session)
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'catch-up', '{}')"
    )
    await becomes(till, order, "fulfilled")


async def test_a_dropped_answer_makes_no_second_session(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    """R2: the effect happened, the answer was lost; the repetition has the same key."""
    before = len(stripe.all_of("checkout.session"))
    stripe.drop_answers = 1
    order, _ = await place(till, shop)
    assert order["pay_url"]
    assert len(stripe.all_of("checkout.session")) == before + 1


async def test_a_gateway_that_is_away_loses_nothing(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    body = {
        "items": [{"program": shop.program, "amount": 100}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": "stripe",
    }
    stripe.away = True
    try:
        problem(await post(till, "/orders", body, under="away"), 503, "outcome_unknown")
    finally:
        stripe.away = False
    again = await post(till, "/orders", body, under="away")
    assert again.status_code == 201, again.text
    assert again.json()["pay_url"]
    assert len((await read(till, "/orders"))["data"]) == 1


async def test_delayed_methods(till: httpx.AsyncClient, shop: Shop, worker: StripeServer) -> None:
    """R15: complete is not paid."""
    order, session = await place(till, shop)
    worker.pay(session, wait=True)

    async def processing() -> bool:
        return (await read(till, f"/payments/{order['payment']}"))["state"] == "processing"

    await until(processing, within_s=40)
    assert (await read(till, f"/orders/{order['id']}"))["state"] == "placed"
    worker.arrive(session)
    await becomes(till, order, "fulfilled")
    other, session = await place(till, shop)
    worker.pay(session, wait=True)
    worker.fail(session)

    async def failed() -> bool:
        return (await read(till, f"/payments/{other['payment']}"))["state"] == "failed"

    await until(failed, within_s=40)


async def test_another_amount_goes_to_review(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer
) -> None:
    """R23."""
    order, session = await place(till, shop)
    worker.pay(session, amount=1)
    found = await becomes(till, order, "review")
    assert found["items"][0]["cards"] == []


async def test_a_refund_is_asked_for_once(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    """R30: the webhook of our own refund is no second one, also when its answer was lost."""
    order, session = await place(till, shop)
    worker.pay(session)
    found = await becomes(till, order, "fulfilled")
    await redeem(till, {"id": found["items"][0]["cards"][0]}, 2000)
    worker.drop_answers = 1
    refund = await made(till, f"/orders/{order['id']}/refunds", {})
    assert (refund["amount"], refund["state"]) == (3000, "done")
    [at_stripe] = [r for r in worker.all_of("refund") if r["amount"] == 3000]
    assert at_stripe["metadata"] == {"florin_refund": ids.require_id("prf", refund["id"]).hex}
    worker.refund(session, 500)  # in the dashboard

    async def adopted() -> bool:
        return len((await read(till, "/payment-refunds"))["data"]) == 2

    await until(adopted, within_s=40)
    newest = (await read(till, "/payment-refunds"))["data"][0]
    assert (newest["adopted"], newest["clawed"], newest["loss"]) == (True, 0, 500)
    await explained(owner, shop)
    await balanced(till)


async def test_a_refund_without_an_answer_is_asked_again(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    order, session = await place(till, shop)
    worker.pay(session)
    await becomes(till, order, "fulfilled")
    worker.away = True
    refund = await made(till, f"/orders/{order['id']}/refunds", {})
    assert refund["state"] == "asked"
    worker.away = False
    path = f"/payment-refunds/{refund['id']}"

    async def done() -> bool:
        return (await read(till, path))["state"] == "done"

    await until(done, within_s=40)
    assert (await accounts(till)) == {"gateway_clearing": -59, "gateway_fees": 59}
    del owner


async def test_a_refund_that_fails_weeks_later(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    order, session = await place(till, shop)
    worker.pay(session)
    found = await becomes(till, order, "fulfilled")
    await made(till, f"/orders/{order['id']}/refunds", {})
    [at_stripe] = worker.all_of("refund")[-1:]
    worker.fail_refund(at_stripe["id"])

    async def failed() -> bool:
        [refund] = (await read(till, "/payment-refunds"))["data"]
        return refund["state"] == "failed"

    await until(failed, within_s=40)
    card = await read(till, f"/cards/{found['items'][0]['cards'][0]}")
    assert card["balance"] == 5000
    await explained(owner, shop)
    await balanced(till)


async def test_disputes_and_warnings_block_the_card(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    """R35: also an early fraud warning; the money moves with the balance transactions."""
    order, session = await place(till, shop)
    worker.pay(session)
    found = await becomes(till, order, "fulfilled")
    card = f"/cards/{found['items'][0]['cards'][0]}"

    async def state(wanted: str) -> None:
        async def there() -> bool:
            return (await read(till, card))["state"] == wanted

        await until(there, within_s=40)

    dispute = worker.dispute(session)
    await state("blocked")
    assert (await accounts(till))["disputes"] == 5000
    worker.resolve(dispute, "won")
    await state("active")
    assert await accounts(till) == {
        "card": -5000, "gateway_clearing": 5000 - 59 - 1500, "gateway_fees": 59 + 1500,
    }  # fmt: skip
    worker.warn(session)
    await state("blocked")
    assert {each["kind"] for each in (await read(till, "/disputes"))["data"]} == {
        "chargeback", "warning",
    }  # fmt: skip
    await explained(owner, shop)
    await balanced(till)


async def test_only_authentic_webhooks_are_received(
    till: httpx.AsyncClient,
    shop: Shop,
    paid_api: Instance,
    api: Instance,
    owner: Any,
    database: Database,
) -> None:
    """R13, R37, R40: raw bytes, old, unsigned, another's secret; other systems' events."""
    url = f"{paid_api.base}/api/v1/hooks/stripe/default"
    order, session = await place(till, shop)
    payment = ids.require_id("pay", order["payment"]).hex
    marks = {"florin_merchant": shop.merchant.hex, "florin_payment": payment}
    noun = {"id": session, "object": "checkout.session", "metadata": marks, "x": 1.0, "y": {}}
    event = {"id": "evt_1", "type": "checkout.session.completed", "data": {"object": noun}}
    body = json.dumps(event, indent=3).encode()
    now = int(time.time())
    for signature in (
        {"stripe-signature": ""},
        {"stripe-signature": "t=1,v1=00"},
        sign(body, "whsec_of_another_merchant"),
        sign(body, at=now - 400),
        sign(body + b" "),
    ):
        assert post_webhook(url, body, signature) == 400, signature
    assert post_webhook(url, b"\xff\xfe", sign(b"\xff\xfe")) == 400
    assert post_webhook(url, b"[]", sign(b"[]")) == 400
    assert await events(owner, shop) == []
    assert post_webhook(url, body, sign(body)) == 200
    assert post_webhook(url, body, sign(body)) == 200
    assert await events(owner, shop) == [("evt_1", 2)]
    event["data"] = {"object": {"id": "pi_other", "object": "payment_intent", "metadata": {}}}
    foreign = json.dumps(event).encode()
    assert post_webhook(url, foreign, sign(foreign)) == 200
    assert await events(owner, shop) == [("evt_1", 2)]
    assert post_webhook(url.replace("default", "gtw_" + "0" * 32), body, sign(body)) == 404
    # Without a secret there is no address, and without a key neither.
    no_secret, _ = selling(database, STRIPE_SECRET_KEY=KEY)
    with pytest.raises(NotFound):
        await no_secret.gateways.hook("stripe", "default")
    assert post_webhook(f"{api.base}/api/v1/hooks/stripe/default", body, sign(body, "")) == 404
