"""Refunds of orders: unspent value first, the cards before the gateway."""

import asyncio
from typing import Any

import httpx

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.orders.clawback import post_gateway
from florin.reports.attention import AttentionReports
from tests.orders.selling import accounts, buy, choose, dashboard, explained, order_body, place
from tests.orders.test_orders import selling, settle_by
from tests.support.api_calls import Json, balanced, made, post, problem, read, redeem
from tests.support.instance import Instance, Shop
from tests.support.members import client_of, register


async def refund(http: httpx.AsyncClient, order: Json, **body: Any) -> Json:
    return await made(http, f"/orders/{order['id']}/refunds", body)


async def card_of(http: httpx.AsyncClient, order: Json) -> Json:
    return await read(http, f"/cards/{order['items'][0]['cards'][0]}")


async def test_what_is_unspent_is_refunded_by_default(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """R29: 20 of 50 are spent: 30 go back, the card is empty, the ledger says so."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await redeem(http, card, 2000)
    refused = await post(http, f"/orders/{order['id']}/refunds", {"amount": 3001})
    assert problem(refused, 402, "refund_exceeds_unspent")["unspent"] == 3000
    assert (await card_of(http, order))["balance"] == 3000
    made_ = await refund(http, order, reason="returned")
    assert (made_["state"], made_["amount"], made_["clawed"], made_["loss"]) == (
        "done", 3000, 3000, 0,
    )  # fmt: skip
    assert (await card_of(http, order))["balance"] == 0
    assert await accounts(http) == {"gateway_clearing": 2000, "merchant_payable": -2000}
    again = await post(http, f"/orders/{order['id']}/refunds", {})
    assert problem(again, 402, "refund_exceeds_unspent")["unspent"] == 0
    assert (await read(http, f"/orders/{order['id']}"))["refunded"] == 3000
    report = await read(http, "/reports/gateway")
    sums = {name: report[name] for name in ("charges", "fees", "refunds", "payouts", "pending")}
    assert sums == {"charges": 5000, "fees": 0, "refunds": 3000, "payouts": 0, "pending": 2000}
    assert report["unexplained"] == []
    for word in ("from", "to"):
        empty = {word: "2099-01-01T00:00:00Z" if word == "from" else "2001-01-01T00:00:00Z"}
        assert (await read(http, "/reports/gateway", **empty))["charges"] == 0
    kinds = [e["kind"] for e in (await read(http, f"/cards/{card['id']}/entries"))["data"]]
    assert kinds == ["clawback", "redeem", "issue"]
    await explained(owner, shop)
    await balanced(http)


async def test_money_that_a_hold_reserves_is_not_refunded(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await made(http, "/holds", {"card": card["id"], "amount": 4000, "currency": "EUR"})
    assert (await refund(http, order))["amount"] == 1000


async def test_a_refund_in_parts_and_a_repetition(http: httpx.AsyncClient, shop: Shop) -> None:
    order = await buy(http, shop, 5000)
    path, body = f"/orders/{order['id']}/refunds", {"amount": 2000}
    answers = await asyncio.gather(*(post(http, path, body, under="part") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    refused = await post(http, path, {"amount": 3001})
    assert problem(refused, 402, "refund_exceeds_payment")["refundable"] == 3000
    assert (await refund(http, order))["amount"] == 3000
    assert await accounts(http) == {}


async def test_refunds_and_redemptions_race(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """Refunded and spent together never exceed what was paid."""
    for _ in range(4):
        order = await buy(http, shop, 5000)
        card = await card_of(http, order)
        spend = {"card": card["id"], "amount": 700, "currency": "EUR"}
        path = f"/orders/{order['id']}/refunds"
        answers = await asyncio.gather(
            *(post(http, "/redemptions", spend) for _ in range(6)),
            *(post(http, path, {"amount": 900}) for _ in range(6)),
        )
        spent = sum(a.json()["amount"] for a in answers[:6] if a.status_code == 201)
        refunded = sum(a.json()["amount"] for a in answers[6:] if a.status_code == 201)
        left = (await card_of(http, order))["balance"]
        assert spent + refunded + left == 5000
        assert {a.status_code for a in answers} <= {201, 402}
    await balanced(http)
    await explained(owner, shop)


async def test_only_an_owner_refunds_what_is_spent(api: Instance, http: httpx.AsyncClient) -> None:
    del http
    async with client_of(api) as client:
        owner = await register(client)
        client.headers.update(owner.headers)
        limits = {"min_amount": 1, "max_amount": 10**6}
        program = await made(client, "/programs", {"name": "P", "currency": "EUR", **limits})
        body = order_body(Shop(ids.NONE, program["id"], ""), 5000)
        order = await made(client, "/orders", body)
        await choose(order, "paid")
        order = await read(client, f"/orders/{order['id']}")
        await redeem(client, await card_of(client, order), 2000)
        path = f"/orders/{order['id']}/refunds"
        key = await client.post("/api-keys", json={"name": "k", "scopes": ["orders:write"]})
        by_key = await client.post(
            path,
            json={"amount": 5000, "beyond_unspent": True, "reason": "r"},
            headers={
                "authorization": f"Bearer {key.json()['secret']}",
                "Idempotency-Key": "k",
            },
        )
        problem(by_key, 403, "forbidden")
        whole = {"amount": 5000, "beyond_unspent": True}
        problem(await post(client, path, whole), 422, "invalid_request", param="reason")
        found = await made(client, path, {**whole, "reason": "goodwill"})
        assert (found["state"], found["clawed"], found["loss"]) == ("done", 3000, 2000)
        assert await accounts(client) == {"refund_loss": 2000, "merchant_payable": -2000}
        await balanced(client)


async def test_a_refund_in_the_dashboard_is_adopted(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """R31, R32: also in parts, and beyond what is unspent; our own is no second one."""
    order = await buy(http, shop, 5000)
    await redeem(http, await card_of(http, order), 2000)
    await dashboard(http, order, "refund", amount=1000)
    await dashboard(http, order, "refund", amount=3000)
    await refund_all_seen(http, order, [(3000, 2000, 1000), (1000, 1000, 0)])
    assert await accounts(http) == {
        "gateway_clearing": 1000, "merchant_payable": -2000, "refund_loss": 1000,
    }  # fmt: skip
    other = await buy(http, shop, 5000)
    await refund(http, other, amount=2000)
    payment = await dashboard(http, other, "refund", amount=1000)
    assert payment["refunded"] == 3000
    assert len((await read(http, "/payment-refunds", payment=other["payment"]))["data"]) == 2
    await explained(owner, shop)
    await balanced(http)


async def refund_all_seen(
    http: httpx.AsyncClient, order: Json, expected: list[tuple[int, int, int]]
) -> None:
    found = (await read(http, "/payment-refunds", payment=order["payment"]))["data"]
    assert [(r["amount"], r["clawed"], r["loss"]) for r in found] == expected
    assert all(r["adopted"] and r["state"] == "done" for r in found)


async def test_a_refund_that_fails_gives_the_value_back(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """The gateway has refunded by itself meanwhile, so that it refuses ours definitely."""
    order = await buy(http, shop, 5000)
    payment = ids.require_id("pay", order["payment"])
    await owner.execute(  # at the gateway only: Florin has not looked yet
        "insert into florin.test_refund (merchant, id, payment, amount, ours)"
        " values ($1, $2, $3, 4000, false)",
        shop.merchant,
        ids.new_id(),
        payment,
    )
    failed = await refund(http, order, amount=3000)
    assert (failed["state"], failed["clawed"]) == ("failed", 3000)
    assert failed["failure"]
    assert (await card_of(http, order))["balance"] == 5000
    assert (await accounts(http)) == {"card": -5000, "gateway_clearing": 5000}
    kinds = [e["type"] for e in (await read(http, "/events", limit=100))["data"]]
    assert "card.given_back" in kinds
    assert "payment_refund.failed" in kinds
    mails = (await read(http, "/deliveries"))["data"]  # the receipt alone
    assert [each["kind"] for each in mails].count("notice") == 1
    await balanced(http)
    await explained(owner, shop)


async def test_value_is_given_back_to_a_card_that_was_closed(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await refund(http, order)
    await made(http, f"/cards/{card['id']}/close", status=200)
    async with database.transaction() as tx:
        from florin.orders.clawback import post_card

        payment = ids.require_id("pay", order["payment"])
        await post_gateway(tx, shop.merchant, "receipt", "EUR", 5000, payment, actor="t")
        uuid = ids.require_id("crd", card["id"])
        await post_card(tx, shop.merchant, uuid, payment, 5000, op="giveback", actor="t")
    found = await read(http, f"/cards/{card['id']}")
    assert (found["state"], found["balance"]) == ("active", 5000)
    await balanced(http)
    del owner


async def test_the_buyer_withdraws_within_fourteen_days(aging: Any) -> None:
    client, shop, pass_time = aging
    order = await buy(client, shop, 5000)
    await redeem(client, await card_of(client, order), 1000)
    await pass_time(days=13)
    found = await made(client, f"/orders/{order['id']}/withdraw", status=200)
    assert found["withdrawn_at"]
    assert found["refunded"] == 4000
    assert (await made(client, f"/orders/{order['id']}/withdraw", status=200))["refunded"] == 4000
    late = await buy(client, shop, 5000)
    await pass_time(days=17)  # the last day may be a Sunday, which puts it off to the Monday
    problem(await post(client, f"/orders/{late['id']}/withdraw"), 402, "withdrawal_period_over")


async def pay_twice(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> tuple[Json, Json]:
    """Two attempts to pay an order are paid, and the gateway refuses to return the surplus, which
    its account could return later. Return both attempts; the first is the surplus.
    """
    surplus = await place(http, shop)
    order = await made(http, f"/orders/{surplus['id']}/retry", status=200)
    await choose(order, "paid")
    await choose(surplus, "paid")
    [asked] = (await read(http, "/payment-refunds", payment=surplus["payment"]))["data"]
    refused = ids.new_id()
    await owner.execute(
        "insert into florin.test_refund (merchant, id, payment, amount, ours)"
        " values ($1, $2, $3, 4000, false)",
        shop.merchant,
        refused,
        ids.require_id("pay", surplus["payment"]),
    )
    services, _ = selling(database)
    await services.looker.send_refund(shop.merchant, ids.require_id("prf", asked["id"]))
    assert (await read(http, f"/payment-refunds/{asked['id']}"))["state"] == "failed"
    await owner.execute("delete from florin.test_refund where id = $1", refused)
    return surplus, order


async def test_a_surplus_that_was_not_returned_is_shown_and_returned_first(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    surplus, order = await pay_twice(http, shop, database, owner)
    found = await read(http, f"/orders/{order['id']}")

    async def unexplained() -> list[tuple[str, int]]:
        report = await read(http, "/reports/gateway")
        assert all(each["reason"] for each in report["unexplained"])
        return [(each["payment"], each["amount"]) for each in report["unexplained"]]

    async def attention() -> int:
        waiting = await AttentionReports(database).of(shop.merchant, "EUR")
        assert waiting is not None
        return waiting.surplus

    assert await unexplained() == [(surplus["payment"], 5000)]
    assert await attention() == 1
    returned = await refund(http, order)
    assert (returned["state"], returned["payment"]) == ("done", surplus["payment"])
    assert (returned["amount"], returned["clawed"], returned["loss"]) == (5000, 0, 0)
    assert (await card_of(http, found))["balance"] == 5000
    assert await unexplained() == []
    assert await attention() == 0
    returned = await refund(http, order)
    assert (returned["payment"], returned["clawed"]) == (order["payment"], 5000)
    assert await accounts(http) == {}
    await explained(owner, shop)
    await balanced(http)


async def test_a_withdrawal_leaves_a_surplus_alone(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """The buyer takes back what the cards cost; the money that came twice is owed in any case."""
    surplus, order = await pay_twice(http, shop, database, owner)
    await made(http, f"/orders/{order['id']}/withdraw", status=200)
    [newest, _] = (await read(http, "/payment-refunds"))["data"]
    assert (newest["payment"], newest["clawed"]) == (order["payment"], 5000)
    assert (await refund(http, order))["payment"] == surplus["payment"]


async def test_an_order_in_review_is_refunded_after_an_older_surplus(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    surplus = await place(http, shop)
    order = await made(http, f"/orders/{surplus['id']}/retry", status=200)
    await settle_by(database, shop, order, amount=1)
    await choose(order, "paid")  # so that the gateway has money to return
    await choose(surplus, "paid")
    [asked] = (await read(http, "/payment-refunds"))["data"]
    services, _ = selling(database)
    await services.looker.send_refund(shop.merchant, ids.require_id("prf", asked["id"]))
    returned = await refund(http, order)
    assert (returned["payment"], returned["amount"]) == (order["payment"], 1)
    assert (await read(http, "/reports/gateway"))["unexplained"] == []
