"""Withdrawal: the buyer takes an order back within the period of the law."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from florin.merchants.law.withdrawal import end_of_withdrawal, withdrawal_by_law
from tests.orders.selling import accounts, buy, explained, order_body, place
from tests.support.api_calls import balanced, made, post, problem, read, redeem
from tests.support.instance import Shop


@pytest.mark.parametrize(
    ("paid", "zone", "end"),
    [
        # A Tuesday: the last day is the Tuesday two weeks later.
        ("2026-06-02T10:00", "UTC", "2026-06-17T00:00"),
        ("2026-06-02T00:00", "UTC", "2026-06-17T00:00"),
        ("2026-06-02T23:59", "UTC", "2026-06-17T00:00"),
        # 23:30 in UTC is the next day in Amsterdam, where summer time is UTC+2.
        ("2026-06-02T22:30", "Europe/Amsterdam", "2026-06-17T22:00"),
        # Saturday and Sunday: Monday is the last day.
        ("2026-06-06T10:00", "UTC", "2026-06-23T00:00"),
        ("2026-06-07T10:00", "UTC", "2026-06-23T00:00"),
        ("2026-06-08T10:00", "UTC", "2026-06-23T00:00"),
        # Over the end of summer time, the last day has 25 hours before it.
        ("2026-10-20T10:00", "Europe/Amsterdam", "2026-11-03T23:00"),
    ],
)
def test_the_period_ends_with_its_last_day(paid: str, zone: str, end: str) -> None:
    at = datetime.fromisoformat(paid).replace(tzinfo=UTC)
    assert end_of_withdrawal(at, zone, 14) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_only_the_law_of_the_places_gives_the_right() -> None:
    paid = datetime(2026, 6, 2, 10, tzinfo=UTC)
    assert withdrawal_by_law(paid, "UTC", ["US-CA"]) is None
    assert withdrawal_by_law(None, "UTC", ["DE"]) is None
    both = withdrawal_by_law(paid, "UTC", ["US-CA", "DE"])
    assert both == datetime(2026, 6, 17, tzinfo=UTC)


async def test_what_is_unspent_is_returned_once(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    order = await buy(http, shop, 5000)
    card = await read(http, f"/cards/{order['items'][0]['cards'][0]}")
    await redeem(http, card, 1200)
    paid = datetime.fromisoformat(order["paid_at"])
    until = datetime.fromisoformat(order["withdrawal_until"])
    assert until == end_of_withdrawal(paid, "UTC", 14)
    path = f"/orders/{order['id']}/withdraw"
    answers = await asyncio.gather(*(http.post(path) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    found = await read(http, f"/orders/{order['id']}")
    assert found["refunded"] == 3800
    assert found["withdrawn_at"] is not None
    assert (await http.post(path)).json() == found
    refunds = (await read(http, "/payment-refunds", payment=order["payment"]))["data"]
    assert [(each["amount"], each["state"], each["reason"]) for each in refunds] == [
        (3800, "done", "withdrawal")
    ]
    kinds = [each["type"] for each in (await read(http, "/events", limit=100))["data"]]
    assert kinds.count("order.withdrawn") == 1
    assert await accounts(http) == {"gateway_clearing": 1200, "merchant_payable": -1200}
    await explained(owner, shop)
    await balanced(http)


async def test_an_order_whose_cards_are_spent_is_withdrawn_without_a_refund(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await buy(http, shop, 5000)
    await redeem(http, await read(http, f"/cards/{order['items'][0]['cards'][0]}"), 5000)
    found = (await http.post(f"/orders/{order['id']}/withdraw")).json()
    assert (found["refunded"], found["withdrawn_at"] is None) == (0, False)


async def test_an_unpaid_order_is_cancelled(http: httpx.AsyncClient, shop: Shop) -> None:
    order = await place(http, shop)
    assert order["withdrawal_until"] is None
    found = (await http.post(f"/orders/{order['id']}/withdraw")).json()
    assert (found["state"], found["withdrawn_at"]) == ("cancelled", None)


async def test_after_the_period_it_is_refused(aging: Any) -> None:
    http, shop, pass_time = aging
    order = await buy(http, shop, 5000)
    await pass_time(days=14)
    spared = await buy(http, shop, 5000)
    await pass_time(days=3)
    refused = await http.post(f"/orders/{order['id']}/withdraw")
    problem(refused, 402, "withdrawal_period_over")
    assert (await read(http, f"/orders/{order['id']}"))["refunded"] == 0
    assert (await http.post(f"/orders/{spared['id']}/withdraw")).status_code == 200
    await balanced(http)


async def test_elsewhere_members_may_grant_it(http: httpx.AsyncClient, shop: Shop) -> None:
    body = {"name": "P", "currency": "USD", "places": ["US-TX"], "min_amount": 1}
    program = await made(http, "/programs", {**body, "max_amount": 10**6})
    sold = Shop(shop.merchant, program["id"], shop.secret)
    answer = await post(http, "/orders", order_body(sold, 700))
    order = answer.json()
    async with httpx.AsyncClient() as browser:
        await browser.post(order["pay_url"], data={"outcome": "paid"})
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], found["withdrawal_until"]) == ("fulfilled", None)
    assert (await http.post(f"/orders/{order['id']}/withdraw")).json()["refunded"] == 700
