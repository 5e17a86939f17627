"""Orders paid by Stripe: the real SDK against a server with Stripe's protocol and faults."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.cli.doctor import check_gateways
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from florin.ops.fleet.home import Home
from florin.payments.gateway import GatewayOff
from tests.orders.selling import accounts, explained
from tests.orders.test_orders import selling
from tests.support import stripe_server
from tests.support.api_calls import (
    Json,
    balanced,
    exceeded,
    made,
    post,
    problem,
    read,
    redeem,
    together,
)
from tests.support.instance import NO_TLS, SECRETS, Instance, Shop, instance, make_shop
from tests.support.members import client_of
from tests.support.ports import free_port
from tests.support.stripe_server import FEE, KEY, OWN_KEY, SECRET, StripeServer, sign
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


async def test_a_refund_waits_for_funds(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer
) -> None:
    """The account lacks them now: no definite refusal, so the value stays off the card."""
    order, session = await place(till, shop)
    worker.pay(session)
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

    async def needs_answer(wanted: bool) -> None:
        async def there() -> bool:
            [found] = (await read(till, "/disputes"))["data"]
            return (found["due_at"] is not None) == wanted

        await until(there, within_s=40)

    dispute = worker.dispute(session)
    await state("blocked")
    assert (await accounts(till))["disputes"] == 5000
    await needs_answer(True)
    worker.resolve(dispute, "under_review")
    await needs_answer(False)
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
    second = worker.dispute(session)  # which ends the warning

    async def warning_ended() -> bool:
        found = (await read(till, "/disputes"))["data"]
        return {each["kind"]: each["state"] for each in found}["warning"] == "closed"

    await until(warning_ended, within_s=40)
    assert (await read(till, card))["state"] == "blocked"
    worker.resolve(second, "won")
    await state("active")
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


OWN_SECRET = "whsec_of_a_merchant_1"


async def connect(http: httpx.AsyncClient, **more: Any) -> Json:
    """Connect the merchant's own account."""
    body = {"provider": "stripe", "live": False, "secret_key": OWN_KEY}
    return await made(http, "/gateways", {**body, "webhook_secret": OWN_SECRET, **more})


async def place_own(http: httpx.AsyncClient, shop: Shop) -> tuple[Json, str]:
    """An order for the gateway that Florin chooses; return it and its session."""
    order = await made(
        http,
        "/orders",
        {
            "items": [{"program": shop.program, "amount": 700}],
            "buyer": {"email": "buyer@example.com"},
        },
    )
    payment = await read(http, f"/payments/{order['payment']}")
    return {**order, "gateway": payment["gateway"]}, payment["reference"]


async def test_the_secrets_of_an_own_gateway_are_never_shown(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer, paid_api: Instance, owner: Any
) -> None:
    del stripe
    body = {"provider": "stripe", "live": False, "secret_key": OWN_KEY}
    for change, code, param in (
        ({"live": True}, "invalid_request", "secret_key"),
        ({"secret_key": None}, "invalid_request", "secret_key"),
        ({"client_id": "client-of-a-merchant"}, "invalid_request", "client_id"),
        ({"secret_key": "pk_test_0123456789"}, "invalid_request", "secret_key"),
        ({"provider": "cash"}, "invalid_request", "provider"),
    ):
        problem(await till.post("/gateways", json={**body, **change}), 422, code, param=param)
    gateway = await connect(till)
    problem(await till.post("/gateways", json=body), 409, "gateway_taken")
    path = f"/gateways/{gateway['id']}"
    assert gateway == await read(till, path) == (await read(till, "/gateways"))["data"][0]
    assert (gateway["takes_webhooks"], gateway["account"]) == (True, None)
    check = (await till.post(f"{path}/test")).json()
    assert (check["ok"], check["account"]) == (True, "acct_of_a_merchant")
    assert check["webhook_url"] == f"{paid_api.base}{gateway['webhook_path']}"
    assert check["webhook_problem"] is None
    await till.patch(path, json={"webhook_secret": "whsec_of_a_merchant_2"})
    stored = str(
        await owner.fetch("select * from florin.gateway where merchant = $1", shop.merchant)
    )
    audit = str((await read(till, "/audit"))["data"])
    assert "gateway.connected" in audit
    assert "gateway.changed" in audit
    for secret in (OWN_KEY, "whsec_of_a_merchant"):
        assert secret not in stored + audit + str(await read(till, "/gateways"))
    await owner.execute(
        "insert into florin.quota (merchant, name, most) values ($1, 'gateways', 1)", shop.merchant
    )
    exceeded(await till.post("/gateways", json=body), "gateways", 1)


async def test_an_order_is_paid_into_the_own_gateway(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, paid_api: Instance, owner: Any
) -> None:
    """Settled, refunded and caught up with there; also once it takes no new orders."""
    gateway = await connect(till)
    worker.webhook_url = None
    order, session = await place_own(till, shop)
    assert order["gateway"] == gateway["id"]
    assert worker.owner_of(session) == "acct_of_a_merchant"
    worker.pay(session)
    url = f"{paid_api.base}{gateway['webhook_path']}"
    noun = {"id": session, "object": "checkout.session"}
    event = {"id": "evt_own", "type": "checkout.session.completed", "data": {"object": noun}}
    body = json.dumps(event).encode()
    assert post_webhook(url, body, sign(body)) == 400  # the installation's secret is another one
    assert post_webhook(url, body, sign(body, OWN_SECRET)) == 200
    await becomes(till, order, "fulfilled")
    off = (await till.delete(f"/gateways/{gateway['id']}")).json()
    assert off["state"] == "off"
    refund = await made(till, f"/orders/{order['id']}/refunds", {"amount": 200})
    await until(lambda: _done(till, refund), within_s=40)
    (returned,) = [each for each in worker.all_of("refund") if each["amount"] == 200]
    assert worker.owner_of(returned["id"]) == "acct_of_a_merchant"
    assert (await place_own(till, shop))[0]["gateway"] == "stripe"
    # A refund at Stripe without a webhook: its account is still asked for events.
    worker.refund(session, 100)
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'catch-up', '{}')"
    )

    async def adopted() -> bool:
        return (await read(till, f"/payments/{order['payment']}"))["refunded"] == 300

    await until(adopted, within_s=40)
    await explained(owner, shop)
    await balanced(till)


async def _done(http: httpx.AsyncClient, refund: Json) -> bool:
    return (await read(http, f"/payment-refunds/{refund['id']}"))["state"] == "done"


async def test_events_of_an_own_gateway_reach_its_merchant_alone(
    till: httpx.AsyncClient,
    shop: Shop,
    paid_api: Instance,
    owner: Any,
    database: Database,
) -> None:
    """A merchant can sign any event with its own secret."""
    order, session = await place(till, shop)  # at the installation's account
    payment = ids.require_id("pay", order["payment"])
    other = await make_shop(owner, database)
    async with client_of(paid_api, **other.headers) as http:
        gateway = await connect(http)
    url = f"{paid_api.base}{gateway['webhook_path']}"
    marks = {"florin_merchant": shop.merchant.hex, "florin_payment": payment.hex}
    for given in (marks, {}):
        noun = {"id": session, "object": "checkout.session", "metadata": given}
        event = {"id": "evt_x", "type": "checkout.session.completed", "data": {"object": noun}}
        body = json.dumps(event).encode()
        for named in ("gateway", "other"):  # even if the payment named its gateway
            assert post_webhook(url, body, sign(body, OWN_SECRET)) == 200, named
            await owner.execute(
                "update florin.payment set gateway = $2 where id = $1",
                payment,
                ids.require_id("gtw", gateway["id"]),
            )
        await owner.execute(
            "update florin.payment set gateway = $2 where id = $1", payment, ids.NONE
        )
    assert await events(owner, shop) == []
    wrong = url.replace("/stripe/", "/paypal/")
    assert post_webhook(wrong, body, sign(body, OWN_SECRET)) == 404


async def test_both_webhook_secrets_are_accepted_for_a_day(
    till: httpx.AsyncClient, shop: Shop, paid_api: Instance, owner: Any
) -> None:
    gateway = await connect(till)
    url, body = f"{paid_api.base}{gateway['webhook_path']}", b'{"id": "evt_1", "type": "x", '
    body += b'"data": {"object": {}}}'
    path = f"/gateways/{gateway['id']}"
    await till.patch(path, json={"webhook_secret": "whsec_of_a_merchant_2"})
    await till.patch(path, json={"secret_key": OWN_KEY})  # changes nothing about it
    for secret in (OWN_SECRET, "whsec_of_a_merchant_2"):
        assert post_webhook(url, body, sign(body, secret)) == 200
    await owner.execute(
        "update florin.gateway set previous_until = clock_timestamp() where merchant = $1",
        shop.merchant,
    )
    assert post_webhook(url, body, sign(body, OWN_SECRET)) == 400
    assert post_webhook(url, body, sign(body, "whsec_of_a_merchant_2")) == 200


async def test_a_key_of_another_account_is_refused(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    """The payments of the gateway could not be found there."""
    del shop
    gateway = await connect(till, webhook_secret=None)
    path = f"/gateways/{gateway['id']}"
    check = (await till.post(f"{path}/test")).json()
    assert "does not exist" in check["webhook_problem"]
    problem(await till.patch(path, json={"secret_key": KEY}), 422, "invalid_request")
    assert (await till.patch(path, json={"secret_key": "sk_test_unknown"})).status_code == 200
    check = (await till.post(f"{path}/test")).json()
    assert (check["ok"], check["account"]) == (False, None)
    stripe.accounts["sk_test_unknown"] = "acct_of_another"
    check = (await till.post(f"{path}/test")).json()
    assert check["ok"] is False
    assert "acct_of_another" in check["key_problem"]


async def test_one_gateway_of_a_mode_is_on(till: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    made_: list[str] = []
    for _ in range(4):
        gateway = await connect(till)
        await till.delete(f"/gateways/{gateway['id']}")
        made_.append(gateway["id"])
    waiting = "select count(*) > 1 from pg_locks where not granted"
    async with owner.transaction():  # the requests meet at the merchant, and go on one by one
        await owner.execute(
            "select from florin.merchant where id = $1 for no key update", shop.merchant
        )
        sent = asyncio.ensure_future(
            together(till.patch(f"/gateways/{each}", json={"state": "on"}) for each in made_)
        )
        await until(lambda: owner.fetchval(waiting), within_s=20)
    answers = await sent
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409]
    listed = (await read(till, "/gateways"))["data"]
    assert sorted(each["state"] for each in listed) == ["off", "off", "off", "on"]


async def test_real_and_test_money_are_kept_apart(
    till: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    production, _ = selling(database, "production")
    with pytest.raises(GatewayOff, match="test money"):
        await production.gateways.require_money(shop.merchant, real_money=False, param="live")
    gateway = await connect(till)
    for requested in (gateway["id"], "stripe", None):
        with pytest.raises(GatewayOff, match="test money"):
            await production.gateways.choose(shop.merchant, requested)
    await owner.execute("update florin.merchant set test = true where id = $1", shop.merchant)
    chosen = await production.gateways.choose(shop.merchant, None)
    assert chosen == ("stripe", ids.require_id("gtw", gateway["id"]))
    body = {"provider": "stripe", "live": True, "secret_key": "sk_live_0123456789"}
    problem(await till.post("/gateways", json=body), 422, "gateway_off", param="live")
    theirs = await make_shop(owner, database)
    with pytest.raises(GatewayOff, match="not connected"):
        await production.gateways.choose(theirs.merchant, gateway["id"])


async def test_a_fee_in_the_currency_of_the_account_is_booked_in_it(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    worker.settled_in = "usd"
    try:
        order, session = await place(till, shop)
        worker.pay(session)
        await becomes(till, order, "fulfilled")
    finally:
        worker.settled_in = "eur"
    payment = await read(till, f"/payments/{order['payment']}")
    assert (payment["fee"], payment["fee_currency"], payment["currency"]) == (59, "USD", "EUR")
    found = await read(till, "/reports/gateway", currency="USD")
    assert (found["charges"], found["fees"], found["pending"]) == (0, 59, -59)
    found = await read(till, "/reports/gateway", currency="EUR")
    assert (found["charges"], found["fees"], found["pending"]) == (5000, 0, 5000)
    # The account is settled in the payment's currency from now on: nothing is booked twice.
    worker.refund(session, 100)

    async def adopted() -> bool:
        return (await read(till, f"/payments/{order['payment']}"))["refunded"] == 100

    await until(adopted, within_s=40)
    await explained(owner, shop)
    await balanced(till)


async def _fee(http: httpx.AsyncClient, order: Json) -> int:
    return int((await read(http, f"/payments/{order['payment']}"))["fee"])


@pytest.mark.parametrize("found_by", ["webhook", "catch-up"])
async def test_a_fee_that_is_known_later_is_booked(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any, found_by: str
) -> None:
    """Stripe captures asynchronously: a charge has its balance transaction after `succeeded`."""
    worker.late_fee = True
    try:
        order, session = await place(till, shop)
        worker.pay(session)
        await becomes(till, order, "fulfilled")
    finally:
        worker.late_fee = False
    assert await _fee(till, order) == 0
    worker.settle_webhooks()
    worker.copies = 1 if found_by == "webhook" else 0
    worker.book(session)
    if found_by == "catch-up":
        await owner.execute(
            "insert into florin.queue_job (queue, kind, payload)"
            " values ('payments', 'catch-up', '{}')"
        )

    async def is_booked() -> bool:
        return await _fee(till, order) == FEE

    await until(is_booked, within_s=40)
    assert await accounts(till) == {
        "card": -5000, "gateway_clearing": 5000 - FEE, "gateway_fees": FEE,
    }  # fmt: skip
    await explained(owner, shop)


async def test_a_fee_that_never_comes_is_looked_for_twice(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer, database: Database, owner: Any
) -> None:
    """After five minutes and after an hour; a fee that comes ends it."""
    stripe.late_fee = True
    try:
        order, session = await place(till, shop)
        stripe.pay(session)
        async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as browser:
            assert "Paid" in (await browser.get(order["url"])).text
    finally:
        stripe.late_fee = False
    services, _ = selling(database, **variables(stripe))
    payment = ids.require_id("pay", order["payment"])

    async def due_in_minutes() -> int | None:
        found: int | None = await owner.fetchval(
            "select round(extract(epoch from look_due - clock_timestamp()) / 60)::integer"
            " from florin.payment where id = $1",
            payment,
        )
        return found

    async def look_after(minutes: int) -> int | None:
        await owner.execute(
            "update florin.payment set paid_at = clock_timestamp() - make_interval(mins => $2),"
            " look_due = clock_timestamp() where id = $1",
            payment,
            minutes,
        )
        await services.looker.look(shop.merchant, payment)
        return await due_in_minutes()

    assert await due_in_minutes() == 5
    assert [await look_after(minutes) for minutes in (6, 66)] == [60, None]
    assert await look_after(0) == 5
    stripe.book(session)
    assert (await look_after(0), await _fee(till, order)) == (None, FEE)
    await services.gateways.close()


async def test_a_fee_is_not_looked_for_for_ever_at_a_gateway_that_is_away(
    till: httpx.AsyncClient, shop: Shop, worker: StripeServer, owner: Any
) -> None:
    worker.late_fee = True
    try:
        order, session = await place(till, shop)
        worker.pay(session)
        await becomes(till, order, "fulfilled")
    finally:
        worker.late_fee = False
    worker.settle_webhooks()
    worker.away = True
    payment = ids.require_id("pay", order["payment"])
    await owner.execute(
        "update florin.payment set paid_at = clock_timestamp() - interval '3 hours',"
        " look_due = clock_timestamp() where id = $1",
        payment,
    )
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'due', '{}')"
    )
    due = "select look_due is null from florin.payment where id = $1"
    await until(lambda: owner.fetchval(due, payment), within_s=40)


async def test_a_request_under_a_running_key_is_asked_again(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    """R9: 409 in progress is no failure of the payment; the same key finds the same session."""
    before = len(stripe.all_of("checkout.session"))
    body = {
        "items": [{"program": shop.program, "amount": 900}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": "stripe",
    }
    stripe.busy = 100
    try:
        problem(await post(till, "/orders", body, under="busy"), 503, "outcome_unknown")
    finally:
        stripe.busy = 0
    [payment] = (await read(till, "/payments"))["data"]
    assert (payment["state"], payment["failure"]) == ("created", None)
    answer = await post(till, "/orders", body, under="busy")
    assert answer.status_code == 201
    assert answer.json()["pay_url"]
    assert len(stripe.all_of("checkout.session")) == before + 1


async def test_the_way_back_needs_no_cookie(
    till: httpx.AsyncClient, shop: Shop, stripe: StripeServer
) -> None:
    """R12: another browser returns, from another site and with cookies of others."""
    order, session = await place(till, shop)
    stripe.pay(session)
    headers = {
        "origin": "null",
        "referer": "https://checkout.stripe.example/",
        "sec-fetch-site": "cross-site",
        "cookie": "cart=of-another-site",
    }
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30, headers=headers) as browser:
        shown = await browser.get(order["url"])
    assert shown.status_code == 200
    assert "Paid" in shown.text
    assert (await read(till, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_the_doctor_checks_keys_and_webhook_addresses(
    till: httpx.AsyncClient,
    shop: Shop,
    stripe: StripeServer,
    paid_api: Instance,
    urls: Any,
    tmp_path: Path,
) -> None:
    gateway = await connect(till, webhook_secret=None)
    given = {"DATABASE_URL": urls.app, "FLORIN_ENV": "test", **SECRETS, **variables(stripe)}
    given["FLORIN_PUBLIC_URL"] = paid_api.base
    name = f"gateway {gateway['id']} of {ids.show_id('mer', shop.merchant)}"

    async def found(**more: str) -> dict[str, tuple[str, str]]:
        checks = await check_gateways(Home(tmp_path), given | more)
        return {each.name: (each.result, each.message) for each in checks}

    well = await found()
    assert well["gateway stripe"] == (
        "ok",
        "accepts its key (acct_of_the_tests), and gets webhooks",
    )
    assert well[name][0] == "warn"
    assert "no webhooks" in well[name][1]
    await till.patch(f"/gateways/{gateway['id']}", json={"webhook_secret": OWN_SECRET})
    assert name not in await found()
    wrong = await found(STRIPE_SECRET_KEY="sk_test_of_no_account")
    assert wrong["gateway stripe"][0] == "fail"
    away = await found(FLORIN_PUBLIC_URL=f"http://127.0.0.1:{free_port()}")
    assert away["gateway stripe"][0] == "warn"
    assert "does not answer" in away["gateway stripe"][1]
    other = await found(FLORIN_PUBLIC_URL=stripe.url)  # a server, but not Florin
    assert "not by Florin" in other["gateway stripe"][1]
    nothing = {"FLORIN_ENV": "test", **SECRETS}
    assert await check_gateways(Home(tmp_path), nothing) == []


async def test_keys_are_tested_few_times_an_hour(till: httpx.AsyncClient, shop: Shop) -> None:
    """Otherwise anyone could find out which stolen keys work."""
    del shop
    gateway = await connect(till, secret_key="sk_test_stolen_1")
    answers = [await till.post(f"/gateways/{gateway['id']}/test") for _ in range(31)]
    assert {each.status_code for each in answers[:30]} == {200}
    problem(answers[30], 429, "rate_limited")
    change = {"secret_key": "sk_test_stolen_2"}
    problem(await till.patch(f"/gateways/{gateway['id']}", json=change), 429, "rate_limited")
