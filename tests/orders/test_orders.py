"""Orders with the test gateway: from the order to its card, exactly once."""

import asyncio
import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.kit.settings import read_settings
from florin.orders.payment_attempts import read_payment_row
from florin.orders.services import OrderServices
from florin.payments.gateway import GatewayOff, GatewayUnavailable, Seen
from florin.payments.gateways.test_payments import TestPayments
from tests.deliveries.conftest import mail_settings
from tests.orders.selling import accounts, buy, choose, explained, order_body, place
from tests.support.api_calls import Json, balanced, made, post, problem, read
from tests.support.instance import NO_TLS, SECRETS, Shop, make_shop
from tests.support.receivers import mail_server
from tests.support.waiting import until


def selling(database: Database, env: str = "test", **more: str) -> tuple[OrderServices, Sealer]:
    """The services of another process on the same database."""
    given = {"DATABASE_URL": "postgresql:///x", "FLORIN_ENV": "test", **SECRETS, **more}
    settings = read_settings(given)
    settings = settings.model_copy(update={"env": env})
    sealer = Sealer(*settings.key_ring("seal_key"))
    return OrderServices.of(settings, database, sealer), sealer


async def page(url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=NO_TLS, timeout=60) as browser:
        return await browser.get(url)


async def test_a_paid_order_has_its_cards(http: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    order = await place(http, shop, 5000, count=2)
    assert order["id"].startswith("ord_")
    assert (order["state"], order["amount"], order["currency"]) == ("placed", 10000, "EUR")
    assert order["items"][0]["cards"] == []
    shown = await page(order["pay_url"])
    assert shown.status_code == 200
    assert "100.00 EUR" in shown.text
    answer = await choose(order, "paid")
    assert (answer.status_code, answer.headers["location"]) == (303, order["url"])
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], found["pay_url"]) == ("fulfilled", None)
    cards = found["items"][0]["cards"]
    assert len(set(cards)) == 2
    for card in cards:
        assert (await read(http, f"/cards/{card}"))["balance"] == 5000
    payment = await read(http, f"/payments/{order['payment']}")
    assert (payment["state"], payment["received"]) == ("paid", 10000)
    assert await accounts(http) == {"card": -10000, "gateway_clearing": 10000}
    await explained(owner, shop)
    await balanced(http)
    shown = await page(order["url"])
    assert shown.status_code == 200
    assert "Paid" in shown.text
    kinds = [each["type"] for each in (await read(http, "/events", limit=100))["data"]]
    for kind in ("order.placed", "order.paid", "order.fulfilled", "payment.paid"):
        assert kinds.count(kind) == 1, kinds


async def test_answer_and_events_have_the_order_as_it_is_read(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """They are made of what was written; an event is without what names persons or a page."""
    card = await made(http, "/cards", {"program": shop.program, "amount": 100})
    items: list[Json] = [
        {
            "program": shop.program,
            "amount": 700,
            "count": 2,
            "recipient": {"name": "Tomas", "email": "tomas@home.example"},
            "message": "For you",
            "deliver": {"channel": "email", "at": "2099-01-01T09:00", "timezone": "Europe/Madrid"},
        },
        {"program": shop.program, "amount": 300, "card": card["id"]},
    ]
    order = await place(
        http, shop, items=items, locale="es", metadata={"table": "7"},
        buyer={"email": "buyer@example.com", "name": "Ana"},
    )  # fmt: skip
    before = await read(http, f"/orders/{order['id']}")
    assert {**before, "url": order["url"]} == order
    again = await made(http, f"/orders/{order['id']}/retry", status=200)
    await choose(order, "paid")  # the first attempt, which is not the latest
    after = await read(http, f"/orders/{order['id']}")
    assert (after["state"], after["payment"]) == ("fulfilled", again["payment"])
    found = (await read(http, "/events", limit=100))["data"]
    seen = {each["type"]: each["data"]["object"] for each in found}

    def masked(shown: Json) -> Json:
        plain = [{**each, "recipient": None, "message": None} for each in shown["items"]]
        return {**shown, "buyer": None, "items": plain, "pay_url": None, "metadata": {}}

    assert seen["order.placed"] == masked(before)
    assert seen["order.paid"] == seen["order.fulfilled"] == masked(after)
    payment = await read(http, f"/payments/{order['payment']}")
    assert seen["payment.paid"] == payment


async def test_each_new_card_is_sent_once(
    http: httpx.AsyncClient, shop: Shop, api: Any, workers: Any
) -> None:
    """To the recipient of its item, or else to the buyer; a card that is topped up is not sent."""
    card = await made(http, "/cards", {"program": shop.program, "amount": 100})
    body = order_body(shop, 5000, locale="de", count=2)
    recipient = {"name": "Tomas", "email": "Tomas@home.example"}
    body["items"] += [
        {"program": shop.program, "amount": 700, "recipient": recipient, "message": "Breakfast?"},
        {"program": shop.program, "amount": 900, "card": card["id"]},
    ]
    order = await made(http, "/orders", body)
    await asyncio.gather(*(choose(order, "paid") for _ in range(4)))
    items = (await read(http, f"/orders/{order['id']}"))["items"]
    sent = (await read(http, "/deliveries"))["data"]
    deliveries = [each for each in sent if each["kind"] == "gift"]
    assert {(each["card"], each["address"], each["kind"]) for each in deliveries} == {
        *((new, "buyer@example.com", "gift") for new in items[0]["cards"]),
        (items[1]["cards"][0], "tomas@home.example", "gift"),
    }
    assert len(deliveries) == 3
    assert {each["locale"] for each in deliveries} == {"de"}
    with mail_server() as mails:
        workers.start(**mail_settings(mails))
        mail = mails.wait_for("7,00", 30)
        assert mail.recipients == ("tomas@home.example",)
    parts = [each for each in mail.message.walk() if each.get_content_type() == "text/plain"]
    text = parts[0].get_content()
    assert "Breakfast?" in text
    [token] = set(re.findall(r"/c/([A-Za-z0-9_-]{22})", text))
    shown = (await page(f"{api.base}/c/{token}")).text
    [code] = set(re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", shown))
    found = await made(http, "/cards/lookup", {"code": code}, status=200)
    assert (found["id"], found["balance"]) == (items[1]["cards"][0], 700)


async def test_the_form_of_the_payment_page_works_in_browsers(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """From its own page, or without the headers of a browser; not from another site."""
    order = await place(http, shop, return_url="https://shop.example/thanks?a=1")
    headers = (await page(order["pay_url"])).headers
    assert headers.get_list("referrer-policy") == ["same-origin"]
    assert "form-action 'self' https://shop.example" in headers["content-security-policy"]
    form = {"outcome": "declined"}
    own = order["pay_url"].partition("/pay/")[0]
    async with httpx.AsyncClient(verify=NO_TLS, timeout=60) as browser:
        for other in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            refused = await browser.post(order["pay_url"], data=form, headers=other)
            assert refused.status_code == 403
        for same in ({"sec-fetch-site": "same-origin"}, {"origin": own}, {}):
            answer = await browser.post(order["pay_url"], data=form, headers=same)
            assert answer.status_code == 303, answer.text
            assert answer.headers["location"] == "https://shop.example/thanks?a=1"


async def test_no_unpaid_order_has_cards(http: httpx.AsyncClient, shop: Shop) -> None:
    for outcome, state in (
        ("declined", "failed"),
        ("expired", "expired"),
        ("delayed", "processing"),
    ):
        order = await place(http, shop)
        assert (await choose(order, outcome)).status_code == 303
        found = await read(http, f"/orders/{order['id']}")
        assert (found["state"], found["items"][0]["cards"]) == ("placed", [])
        assert (await read(http, f"/payments/{order['payment']}"))["state"] == state
        text = (await page(order["url"])).text
        assert ("is being checked" in text) == (outcome == "delayed"), text
    assert await accounts(http) == {}


async def test_delayed_money_is_settled_when_it_arrives(aging: Any) -> None:
    client, shop, pass_time = aging
    order = await place(client, shop)
    await choose(order, "delayed")
    await pass_time(seconds=20)
    await page(order["url"])
    assert (await read(client, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_a_repetition_places_no_second_order(http: httpx.AsyncClient, shop: Shop) -> None:
    body = order_body(shop)
    answers = await asyncio.gather(*(post(http, "/orders", body, under="once") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.json()["url"] for answer in answers}) == 1
    assert len((await read(http, "/orders"))["data"]) == 1
    other = await post(http, "/orders", order_body(shop, 1), under="once")
    problem(other, 422, "idempotency_key_reused")


async def test_numbers_have_no_gap(http: httpx.AsyncClient, shop: Shop) -> None:
    await asyncio.gather(*(place(http, shop) for _ in range(6)))
    found = await read(http, "/orders")
    assert sorted(each["number"] for each in found["data"]) == [1, 2, 3, 4, 5, 6]


async def test_settlers_race_for_one_card(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """R1, R3, R6, R7: return page, form, webhook's look and poll at once."""
    services, _ = selling(database)
    for _ in range(5):
        order = await place(http, shop)
        payment = ids.require_id("pay", order["payment"])
        await asyncio.gather(
            *(choose(order, "paid") for _ in range(3)),
            *(page(order["url"]) for _ in range(3)),
            *(services.looker.look(shop.merchant, payment) for _ in range(6)),
        )
        await services.looker.look(shop.merchant, payment)
        found = await read(http, f"/orders/{order['id']}")
        assert found["state"] == "fulfilled"
        assert len(found["items"][0]["cards"]) == 1
    assert await accounts(http) == {"card": -25000, "gateway_clearing": 25000}
    assert len((await read(http, "/cards"))["data"]) == 5
    kinds = [each["type"] for each in (await read(http, "/events", limit=100))["data"]]
    assert kinds.count("order.fulfilled") == 5
    await explained(owner, shop)


async def settle_by(database: Database, shop: Shop, order: Json, **seen: Any) -> None:
    """Settle by a forged answer of a gateway."""
    services, sealer = selling(database)
    payment = ids.require_id("pay", order["payment"])
    row = await read_payment_row(database, sealer, shop.merchant, payment)
    said: Json = {
        "state": "paid",
        "reference": row.reference,
        "capture_ref": f"c{payment.hex}",
        "amount": row.amount,
        "currency": row.currency,
        "real_money": False,
        "ours": payment,
    }
    await services.settlement.settle(row, Seen(**{**said, **seen}), real_money=False)


async def test_what_differs_from_the_order_goes_to_review(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """R23, R24: amount, currency, reference, payment and kind of money are compared."""
    wrong: list[Json] = [
        {"amount": 1},
        {"amount": 5001},
        {"currency": "USD"},
        {"reference": "another"},
        {"ours": ids.new_id()},
        {"real_money": True},
    ]
    orders: list[Json] = []
    for each in wrong:
        order = await place(http, shop)
        orders.append(order)
        await settle_by(database, shop, order, **each)
        found = await read(http, f"/orders/{order['id']}")
        assert (found["state"], found["items"][0]["cards"]) == ("review", []), each
        assert found["review"]
    assert (await read(http, "/cards"))["data"] == []
    received = 1 + 5001 + 3 * 5000  # in EUR
    report = await read(http, "/reports/gateway")
    assert (report["charges"], report["pending"]) == (received, received)
    assert [each["amount"] for each in report["unexplained"]] == [1, 5001, 5000, 5000, 5000, 5000]
    assert all(each["age_s"] >= 0 and each["reason"] for each in report["unexplained"])
    [dollars] = [each for each in report["unexplained"] if each["currency"] == "USD"]
    in_dollars = next(each for each in orders if each["id"] == dollars["order"])
    await choose(in_dollars, "paid")  # so that the gateway has money to return
    refund = await made(http, f"/orders/{dollars['order']}/refunds", {})
    assert (refund["state"], refund["currency"]) == ("done", "USD")
    report = await read(http, "/reports/gateway", currency="USD")
    assert (report["charges"], report["refunds"], report["pending"]) == (5000, 5000, 0)
    assert len(report["unexplained"]) == 5
    assert await accounts(http) == {"gateway_clearing": received, "refunds_pending": -received}
    await explained(owner, shop)


async def test_paid_is_final(http: httpx.AsyncClient, shop: Shop, database: Database) -> None:
    """R5, R19: a stale answer does not undo a payment."""
    order = await buy(http, shop)
    for state in ("open", "processing", "failed", "expired"):
        await settle_by(database, shop, order, state=state, amount=0)
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"
    assert (await read(http, f"/payments/{order['payment']}"))["state"] == "paid"


async def test_a_failed_payment_changes_only_by_money(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    order = await place(http, shop)
    for state in ("failed", "processing", "expired", "open"):
        await settle_by(database, shop, order, state=state, amount=0)
        assert (await read(http, f"/payments/{order['payment']}"))["state"] == "failed"
    await settle_by(database, shop, order)
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_what_was_paid_at_the_test_gateway_stays_paid(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    order = await place(http, shop)
    token = order["pay_url"].rpartition("/")[2]
    counted = [
        (await TestPayments(database).decide(token, outcome))["counts"]
        for outcome in ("declined", "paid", "declined", "expired")
    ]
    assert counted == [True, True, False, False]
    await choose(order, "expired")
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_late_money_fulfils_an_order_that_stands(http: httpx.AsyncClient, shop: Shop) -> None:
    """R21."""
    order = await place(http, shop)
    await choose(order, "expired")
    await choose(order, "paid")
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def test_money_for_a_cancelled_order_is_returned(
    http: httpx.AsyncClient, shop: Shop, workers: Any, owner: Any
) -> None:
    order = await place(http, shop)
    cancelled = await made(http, f"/orders/{order['id']}/cancel", status=200)
    assert cancelled["state"] == "cancelled"
    assert (await made(http, f"/orders/{order['id']}/cancel", status=200))["state"] == "cancelled"
    workers.start()
    await choose(order, "paid")

    async def returned() -> bool:
        found = (await read(http, "/payment-refunds", payment=order["payment"]))["data"]
        return [each["state"] for each in found] == ["done"]

    await until(returned, within_s=30)
    payment = await read(http, f"/payments/{order['payment']}")
    assert (payment["state"], payment["surplus"], payment["refunded"]) == ("paid", True, 5000)
    assert (await read(http, "/cards"))["data"] == []
    assert await accounts(http) == {}
    await explained(owner, shop)


async def test_the_second_paid_attempt_is_returned(
    http: httpx.AsyncClient, shop: Shop, workers: Any
) -> None:
    """R18, R20: a new attempt has a payment of its own; a refund belongs to its payment."""
    order = await place(http, shop)
    again = await made(http, f"/orders/{order['id']}/retry", status=200)
    assert again["payment"] != order["payment"]
    assert again["pay_url"] != order["pay_url"]
    await choose(again, "paid")
    workers.start()
    await choose(order, "paid")

    async def returned() -> bool:
        found = (await read(http, "/payment-refunds"))["data"]
        return [each["state"] for each in found] == ["done"]

    await until(returned, within_s=30)
    [refund] = (await read(http, "/payment-refunds"))["data"]
    assert refund["payment"] == order["payment"]
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], len(found["items"][0]["cards"])) == ("fulfilled", 1)
    assert await accounts(http) == {"card": -5000, "gateway_clearing": 5000}
    problem(await post(http, f"/orders/{order['id']}/retry"), 402, "order_not_payable")
    problem(await post(http, f"/orders/{order['id']}/cancel"), 402, "order_paid")


async def test_no_new_attempt_while_one_is_processing(http: httpx.AsyncClient, shop: Shop) -> None:
    """R14: nothing offers to pay again while the outcome is open."""
    order = await place(http, shop)
    await choose(order, "delayed")
    problem(await post(http, f"/orders/{order['id']}/retry"), 402, "order_not_payable")
    assert len((await read(http, "/payments", order=order["id"]))["data"]) == 1


async def test_what_was_paid_meanwhile_is_neither_cancelled_nor_paid_again(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    """R14, R18: the gateway has the money, and Florin has not looked yet."""
    for action, code in (("retry", "order_not_payable"), ("cancel", "order_paid")):
        order = await place(http, shop)
        await TestPayments(database).decide(order["pay_url"].rpartition("/")[2], "paid")
        problem(await post(http, f"/orders/{order['id']}/{action}"), 402, code)
        assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"
        assert len((await read(http, "/payments", order=order["id"]))["data"]) == 1


async def test_the_page_to_pay_a_cancelled_order_is_closed(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    order = await place(http, shop)
    payment_id = ids.require_id("pay", order["payment"])
    await lose_answer(owner, payment_id)
    await made(http, f"/orders/{order['id']}/cancel", status=200)
    services, _ = selling(database)
    await services.looker.look(shop.merchant, payment_id)
    payment = await read(http, f"/payments/{order['payment']}")
    assert (payment["state"], payment["url"]) == ("expired", None)


async def test_after_a_lost_answer_the_same_page_is_found(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    order = await place(http, shop)
    payment_id = ids.require_id("pay", order["payment"])
    await lose_answer(owner, payment_id)
    services, _ = selling(database)
    await services.looker.look(shop.merchant, payment_id)
    payment = await read(http, f"/payments/{order['payment']}")
    assert (payment["state"], payment["url"]) == ("open", order["pay_url"])
    await choose(order, "paid")
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"


async def lose_answer(owner: Any, payment: UUID) -> None:
    """The gateway made its page, and its answer was lost."""
    await owner.execute(
        "update florin.payment set state = 'created', url = null, reference = null where id = $1",
        payment,
    )


async def test_the_worker_settles_without_the_buyer(
    http: httpx.AsyncClient, shop: Shop, database: Database, workers: Any
) -> None:
    """R11: the buyer pays, closes the page, and the instance dies before it looks."""
    order = await place(http, shop)
    token = order["pay_url"].rpartition("/")[2]
    await TestPayments(database).decide(token, "paid")  # the gateway's side only
    assert (await read(http, f"/orders/{order['id']}"))["state"] == "placed"
    workers.start()

    async def fulfilled() -> bool:
        return (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"

    await until(fulfilled, within_s=30)


async def test_a_top_up_loads_the_card(http: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    card = await made(http, "/cards", {"program": shop.program, "amount": 100})
    body = order_body(shop)
    body["items"] = [{"program": shop.program, "amount": 700, "card": card["id"]}]
    order = await made(http, "/orders", body)
    await choose(order, "paid")
    found = await read(http, f"/orders/{order['id']}")
    assert found["items"][0]["cards"] == [card["id"]]
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 800
    assert (await accounts(http))["gateway_clearing"] == 700
    await explained(owner, shop)


async def test_a_top_up_that_is_refused_goes_to_review(http: httpx.AsyncClient, shop: Shop) -> None:
    """The card was blocked between the order and its payment: the money is kept for the buyer."""
    card = await made(http, "/cards", {"program": shop.program, "amount": 100})
    body = order_body(shop)
    body["items"] = [{"program": shop.program, "amount": 700, "card": card["id"]}]
    order = await made(http, "/orders", body)
    await made(http, f"/cards/{card['id']}/block", status=200)
    await choose(order, "paid")
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], found["items"][0]["cards"]) == ("review", [])
    assert "card_blocked" in found["review"]
    refund = await made(http, f"/orders/{order['id']}/refunds", {})
    assert (refund["state"], refund["amount"], refund["clawed"]) == ("done", 700, 0)
    assert (await accounts(http)).get("gateway_clearing", 0) == 0


async def test_bad_orders_are_refused(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    good = order_body(shop)
    problem(await http.post("/orders", json=good), 400, "idempotency_key_required")
    item = good["items"][0]
    refused: list[tuple[Json, int, str]] = [
        ({"items": []}, 422, "invalid_request"),
        ({"items": [{**item, "amount": 0}]}, 422, "invalid_request"),
        ({"items": [{**item, "count": 101}]}, 422, "invalid_request"),
        ({"items": [{**item, "count": 100}] * 3}, 422, "invalid_request"),
        ({"items": [{**item, "program": "prg_" + "0" * 32}]}, 404, "not_found"),
        ({"items": [{**item, "card": "crd_" + "0" * 32}]}, 404, "card_not_found"),
        ({"buyer": {"email": "no-address"}}, 422, "invalid_request"),
        ({"locale": "xx"}, 422, "invalid_request"),
        ({"gateway": "cash"}, 422, "invalid_request"),
        ({"return_url": "javascript:alert(1)"}, 422, "invalid_request"),
    ]
    for change, status, code in refused:
        problem(await post(http, "/orders", {**good, **change}), status, code)
    other = await make_shop(owner, database)
    theirs = {**good, "items": [{**item, "program": other.program}]}
    problem(await post(http, "/orders", theirs), 404, "not_found")
    assert (await read(http, "/orders"))["data"] == []


async def test_the_test_gateway_is_refused_in_production(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    services, _ = selling(database, "production")
    assert not services.gateways.test_allowed
    for requested in ("test", None):
        with pytest.raises(GatewayOff):
            await services.gateways.choose(shop.merchant, requested)
    order = await place(http, shop)
    await choose(order, "expired")
    with pytest.raises(GatewayUnavailable):
        await services.looker.look(shop.merchant, ids.require_id("pay", order["payment"]))


async def test_test_money_buys_nothing_in_production(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """And a test merchant takes no real money anywhere."""
    del http
    test_mode = {"STRIPE_SECRET_KEY": "sk_test_1"}
    production, _ = selling(database, "production", **test_mode)
    elsewhere, _ = selling(database, **test_mode)
    live, _ = selling(database, "production", STRIPE_SECRET_KEY="sk_live_1")
    with pytest.raises(GatewayOff, match="test money"):
        await production.gateways.choose(shop.merchant, "stripe")
    assert (await elsewhere.gateways.choose(shop.merchant, None))[0] == "stripe"
    assert (await live.gateways.choose(shop.merchant, None))[0] == "stripe"
    await owner.execute("update florin.merchant set test = true where id = $1", shop.merchant)
    assert (await production.gateways.choose(shop.merchant, "stripe"))[0] == "stripe"
    with pytest.raises(GatewayOff, match="real money"):
        await live.gateways.choose(shop.merchant, "stripe")
    with pytest.raises(GatewayOff, match="not connected"):
        await selling(database)[0].gateways.choose(shop.merchant, "stripe")


async def test_pages_reveal_nothing_without_their_token(http: httpx.AsyncClient, api: Any) -> None:
    del http
    for path in ("/o/", "/pay/"):
        answer = await page(f"{api.base}{path}{'a' * 26}")
        assert answer.status_code == 404
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_cards_are_bought_with_money_only(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """R39: no card pays for a card, which would renew what expires; and all of the face value comes
    from the gateway.
    """
    card = await made(http, "/cards", {"program": shop.program, "amount": 5000})
    for paid_by in (
        {"gateway": "card"},
        {"gateway": card["id"]},
        {"gateway": card["code"]},
        {"card": card["id"]},
        {"redemption": {"code": card["code"]}},
        {"discount": 100},
    ):
        body = {**order_body(shop), **paid_by}
        problem(await post(http, "/orders", body), 422, "invalid_request")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5000
    order = await buy(http, shop, 700)
    [bought] = order["items"][0]["cards"]
    debits = await owner.fetch(
        "select debit::text, amount from florin.transfer where merchant = $1 and credit_card = $2",
        shop.merchant,
        ids.require_id("crd", bought),
    )
    assert [(row["debit"], row["amount"]) for row in debits] == [("gateway_clearing", 700)]
