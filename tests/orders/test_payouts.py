"""Settlement: an operator that collects for many merchants pays each what is owed to it, once."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.orders.selling import accounts, buy, dashboard, explained
from tests.support import stripe_server
from tests.support.api_calls import Json, balanced, made, post, problem, read, redeem
from tests.support.instance import NO_TLS, Instance, Shop, instance, make_shop
from tests.support.members import client_of, lock_waits
from tests.support.stripe_server import FEE, KEY, StripeServer


@dataclass(frozen=True)
class Market:
    """An operator and two merchants, each with a client."""

    running: Instance
    operator: httpx.AsyncClient
    first: httpx.AsyncClient
    second: httpx.AsyncClient
    shops: tuple[Shop, Shop]

    def ids(self) -> list[str]:
        return [ids.show_id("mer", shop.merchant) for shop in self.shops]


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    with stripe_server.stripe_server() as server:
        yield server


@pytest.fixture
async def market(
    urls: Any, owner: Any, database: Database, stripe: StripeServer
) -> AsyncGenerator[Market]:
    collector, *shops = [await make_shop(owner, database) for _ in range(3)]
    named = f"mer_{'0' * 32}, {ids.show_id('mer', collector.merchant)}"
    variables = {
        "FLORIN_OPERATORS": named,
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_URL": stripe.url,
    }
    with instance(f"{urls.app}?connection_limit=5", **variables) as running:
        async with (
            client_of(running, **collector.headers) as operator,
            client_of(running, **shops[0].headers) as first,
            client_of(running, **shops[1].headers) as second,
        ):
            yield Market(running, operator, first, second, (shops[0], shops[1]))


async def pay_out(market: Market, **more: Any) -> Json:
    return await made(market.operator, "/payout-batches", {"currency": "EUR", **more})


async def owed(client: httpx.AsyncClient) -> int:
    found = (await read(client, "/settlement-balances"))["data"]
    return sum(each["balance"] for each in found)


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_what_was_collected_is_paid_out_once(market: Market, owner: Any) -> None:
    shop, other = market.shops
    rate = {"merchant": market.ids()[0], "basis_points": 250}
    await made(market.operator, "/commission-rates", rate)
    order = await buy(market.first, shop, 5000)
    await made(market.first, f"/orders/{order['id']}/refunds", {"amount": 1000})
    await buy(market.second, other, 2000)
    assert (await owed(market.operator), await owed(market.first)) == (6000, 4000)

    key = "batch"
    answers = [
        await post(market.operator, "/payout-batches", {"currency": "EUR"}, under=key)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    batch = answers[0].json()
    assert (answers[1].json(), batch["payouts"], batch["amount"]) == (batch, 2, 5900)
    listed = (await read(market.operator, "/payouts", batch=batch["id"]))["data"]
    by_merchant = {each["merchant"]: each for each in listed}
    mine = by_merchant[market.ids()[0]]
    assert (mine["amount"], mine["commission"], mine["payments"]) == (3900, 100, 1)
    assert await read(market.first, f"/payouts/{mine['id']}") == mine
    file = rows(await market.operator.get(f"/payout-batches/{batch['id']}/file"))
    assert sorted(each["amount"] for each in file) == ["20.00", "39.00"]
    assert await accounts(market.first) == {"card": -4000, "bank": 3900, "commissions": 100}
    assert await owed(market.operator) == 0
    await explained(owner, shop)
    assert (await pay_out(market))["payouts"] == 0

    # The bank sends it back.
    path = f"/payouts/{mine['id']}"
    for _ in range(2):
        failed = await post(market.operator, f"{path}/fail", {"reason": "account closed"})
        assert (failed.json()["state"], failed.json()["reason"]) == ("failed", "account closed")
    lines = rows(await market.first.get("/reports/settlement"))
    assert [line["kind"] for line in lines].count("payout") == 2  # made and undone
    problem(await market.operator.post(f"{path}/confirm"), 409, "payout_ended")
    assert await accounts(market.first) == {
        "card": -4000, "gateway_clearing": 3900, "commissions": 100,
    }  # fmt: skip
    again = await pay_out(market)
    assert (again["payouts"], again["amount"]) == (1, 3900)
    (latest, _) = (await read(market.first, "/payouts"))["data"]
    assert latest["commission"] == 0
    confirmed = await market.operator.post(f"/payouts/{latest['id']}/confirm")
    assert confirmed.json()["state"] == "paid"

    # A refund after the payout makes the next one smaller.
    await made(market.first, f"/orders/{order['id']}/refunds", {"amount": 500})
    assert await owed(market.first) == -500
    assert (await pay_out(market))["payouts"] == 0
    await buy(market.first, shop, 3000)
    assert (await pay_out(market, minimum=2426))["payouts"] == 0
    assert (await pay_out(market))["amount"] == 3000 - 75 - 500
    await explained(owner, shop)
    await balanced(market.first)
    await _check_statement(market)


async def _check_statement(market: Market) -> None:
    report = await read(market.first, "/reports/gateway")
    assert (report["commissions"], report["payouts"], report["pending"]) == (175, 6325, 0)

    lines = rows(await market.first.get("/reports/settlement"))
    assert sum(int(line["amount"]) for line in lines) == int(lines[-1]["balance"]) == 0
    kinds = {line["kind"] for line in lines}
    assert kinds == {"sale", "gateway_refund", "commission", "payout"}
    late = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    query = {"from": late, "merchant": market.ids()[0]}
    assert rows(await market.operator.get("/reports/settlement", params=query)) == []


async def test_batches_at_once_pay_once(market: Market, owner: Any, urls: Any) -> None:
    shop, _ = market.shops
    for _ in range(3):
        await buy(market.first, shop, 1000)
    batches = await asyncio.gather(*(pay_out(market) for _ in range(4)))
    assert sum(batch["amount"] for batch in batches) == 3000
    assert await accounts(market.first) == {"card": -3000, "bank": 3000}

    # Until one has committed, the next waits; then nothing is left to be paid.
    await buy(market.first, shop, 500)
    async with owner.transaction():
        paid = await owner.fetchval(
            "select amount from pay_out($1, $2, 'EUR', now(), 1, 'operator')",
            shop.merchant,
            ids.new_id(),
        )
        waiting = asyncio.create_task(pay_out(market))
        while not waiting.done() and not await lock_waits(urls.superuser):  # noqa: ASYNC110 -- it happens in PostgreSQL
            await asyncio.sleep(0.02)
    assert (paid, (await waiting)["amount"]) == (500, 0)
    await explained(owner, shop)
    await balanced(market.first)


async def test_what_is_not_certain_waits(market: Market, owner: Any) -> None:
    shop, _ = market.shops
    order = await buy(market.first, shop, 5000)
    await buy(market.first, shop, 700)
    # The dispute takes the money; what it gives back when it is won is not paid out before.
    card = (await read(market.first, f"/orders/{order['id']}"))["items"][0]["cards"][0]
    await redeem(market.first, await read(market.first, f"/cards/{card}"), 1000)
    await dashboard(market.first, order, "dispute")
    asked = await buy(market.first, shop, 300)  # about which its buyer inquires: no money moved
    inquiry = await owner.fetchval(
        "insert into florin.dispute (merchant, id, payment, gateway_ref, kind, state, amount,"
        " currency, created_at) values ($1, $2, $3, 'i', 'inquiry', 'open', 300, 'EUR', now())"
        " returning id",
        shop.merchant,
        ids.new_id(),
        ids.require_id("pay", asked["payment"]),
    )
    assert (await pay_out(market))["amount"] == 700
    await dashboard(market.first, order, "win")
    assert (await pay_out(market))["amount"] == 5000
    await owner.execute("update florin.dispute set state = 'closed' where id = $1", inquiry)
    assert (await pay_out(market))["amount"] == 300
    await balanced(market.first)


async def test_only_a_named_operator_pays_out(market: Market) -> None:
    shop, _ = market.shops
    await buy(market.first, shop, 5000)
    for path, body in (
        ("/payout-batches", {"currency": "EUR"}),
        ("/commission-rates", {"merchant": market.ids()[1], "basis_points": 1}),
        (f"/payouts/pyo_{'0' * 32}/confirm", None),
        (f"/payouts/pyo_{'0' * 32}/fail", {"reason": "r"}),
    ):
        problem(await post(market.first, path, body), 403, "forbidden")
    batch = await pay_out(market)
    (payout,) = (await read(market.first, "/payouts"))["data"]
    for path in (
        f"/payouts/{payout['id']}",
        f"/payout-batches/{batch['id']}",
        f"/payout-batches/{batch['id']}/file",
    ):
        problem(await market.second.get(path), 404, "not_found")
    assert (await read(market.second, "/payouts"))["data"] == []
    assert (await read(market.second, "/settlement-balances"))["data"] == []
    query = {"merchant": market.ids()[0]}
    assert (await read(market.second, "/settlement-balances", **query))["data"] == []
    problem(await market.second.get("/reports/settlement", params=query), 404, "not_found")


async def test_a_rate_counts_from_its_date_on(market: Market) -> None:
    shop, _ = market.shops
    await buy(market.first, shop, 1000)
    body = {"merchant": market.ids()[0], "basis_points": 1000}
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    refused = await post(market.operator, "/commission-rates", {**body, "valid_from": past})
    problem(refused, 422, "invalid_request", param="valid_from")
    unknown = {**body, "merchant": f"mer_{'0' * 32}"}
    problem(await post(market.operator, "/commission-rates", unknown), 422, "invalid_request")
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await made(market.operator, "/commission-rates", {**body, "valid_from": later})
    rate = await made(market.operator, "/commission-rates", {**body, "basis_points": 333})
    await buy(market.first, shop, 1000)
    assert (await pay_out(market))["amount"] == 2000 - 33
    listed = (await read(market.first, "/commission-rates"))["data"]
    assert [each["basis_points"] for each in listed] == [333, 1000]
    assert await read(market.first, f"/commission-rates/{rate['id']}") == rate
    problem(await market.second.get(f"/commission-rates/{rate['id']}"), 404, "not_found")


async def _buy_in_yen(http: httpx.AsyncClient, stripe: StripeServer, amount: int) -> Json:
    """Sell cards in JPY; Stripe settles the account, and keeps its fee, in USD."""
    limits = {"min_amount": 1, "max_amount": 10**6}
    program = await made(http, "/programs", {"name": "P", "currency": "JPY", **limits})
    items = [{"program": program["id"], "amount": amount}]
    body = {"items": items, "buyer": {"email": "buyer@example.com"}, "gateway": "stripe"}
    order = await made(http, "/orders", body)
    stripe.settled_in = "usd"
    stripe.pay((await read(http, f"/payments/{order['payment']}"))["reference"])
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as browser:
        assert "Paid" in (await browser.get(order["url"])).text
    payment = await read(http, f"/payments/{order['payment']}")
    assert (payment["fee"], payment["fee_currency"], payment["currency"]) == (FEE, "USD", "JPY")
    return order


async def test_a_fee_in_another_currency_is_not_deducted(
    market: Market, stripe: StripeServer, owner: Any
) -> None:
    """59 yen are not what 0.59 dollars are: neither equal nor to be subtracted."""
    await _buy_in_yen(market.first, stripe, FEE)
    batch = await pay_out(market, currency="JPY")
    assert (batch["payouts"], batch["amount"]) == (1, FEE)
    await _buy_in_yen(market.first, stripe, 5000)
    batch = await pay_out(market, currency="JPY")
    assert (batch["payouts"], batch["amount"]) == (1, 5000)
    for currency in ("JPY", "USD"):
        assert (await pay_out(market, currency=currency))["payouts"] == 0
    found = (await read(market.first, "/settlement-balances"))["data"]
    shown = {each["currency"]: (each["fees"], each["balance"]) for each in found}
    assert shown == {"JPY": (0, 0), "USD": (2 * FEE, -2 * FEE)}
    lines = rows(await market.first.get("/reports/settlement", params={"currency": "USD"}))
    assert [(line["kind"], line["amount"]) for line in lines] == [("gateway_fee", f"{-FEE}")] * 2
    await explained(owner, market.shops[0])
