"""Selling for tests: place an order, choose its outcome on the payment page, check the books."""

from typing import Any

import httpx

from florin.payments.gateway import SeenDispute
from tests.support.api_calls import Json, made, post, read
from tests.support.instance import NO_TLS, Shop

# A merchant's own gateway, with a key that no one has.
OWN_STRIPE: dict[str, Any] = {
    "provider": "stripe",
    "live": False,
    "secret_key": "sk_test_of_the_tests_of_gateways",
}


def order_body(shop: Shop, amount: int = 5000, **more: Any) -> Json:
    return {
        "items": [{"program": shop.program, "amount": amount, "count": more.pop("count", 1)}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": "test",
        **more,
    }


async def place(http: httpx.AsyncClient, shop: Shop, amount: int = 5000, **more: Any) -> Json:
    return await made(http, "/orders", order_body(shop, amount, **more))


async def choose(order: Json, outcome: str) -> httpx.Response:
    """Send the form of the payment page, as a browser does, without following it back."""
    async with httpx.AsyncClient(verify=NO_TLS, timeout=60) as browser:
        return await browser.post(order["pay_url"], data={"outcome": outcome})


async def buy(http: httpx.AsyncClient, shop: Shop, amount: int = 5000, **more: Any) -> Json:
    """Place an order and pay it; return the fulfilled order."""
    order = await place(http, shop, amount, **more)
    answer = await choose(order, "paid")
    assert answer.status_code == 303, answer.text
    found = await read(http, f"/orders/{order['id']}")
    assert found["state"] == "fulfilled", found
    return {**found, "url": order["url"]}


async def buy_in_review(http: httpx.AsyncClient, shop: Shop, amount: int) -> Json:
    """Pay for a top-up of a card that was blocked meanwhile: a member has to decide."""
    card = await made(http, "/cards", {"program": shop.program, "amount": 5000})
    item = {"program": shop.program, "amount": amount, "card": card["id"]}
    order = await place(http, shop, amount, items=[item])
    await made(http, f"/cards/{card['id']}/block", status=200)
    await choose(order, "paid")
    return await read(http, f"/orders/{order['id']}")


async def dashboard(http: httpx.AsyncClient, order: Json, action: str, **body: Any) -> Json:
    """Act as the dashboard of the test gateway."""
    path = f"/test-gateway/payments/{order['payment']}/{action}"
    answer = await post(http, path, body or None)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def said(kind: Any, state: Any, *, withdrawn: int = 0) -> SeenDispute:
    """A dispute as a gateway says it is."""
    return SeenDispute(
        ref=f"{kind}_1", kind=kind, state=state, amount=5000, withdrawn=withdrawn, due_at=None
    )


async def accounts(http: httpx.AsyncClient) -> dict[str, int]:
    """The balances of all accounts that are not zero."""
    found = await read(http, "/ledger/balances")
    return {each["account"]: each["balance"] for each in found["accounts"] if each["balance"]}


async def explained(owner: Any, shop: Shop) -> None:
    """Check that each change of gateway_clearing is recorded with its payment, to the unit."""
    row = await owner.fetchrow(
        "select (select coalesce(sum(case when t.debit = 'gateway_clearing' then t.amount"
        " else -t.amount end), 0) from florin.transfer t where t.merchant = $1"
        " and 'gateway_clearing' in (t.debit, t.credit)) as account,"
        " (select coalesce(sum(g.amount), 0) from florin.gateway_posting g"
        "  where g.merchant = $1) as recorded,"
        " (select count(*) from florin.gateway_posting g"
        "  where g.merchant = $1 and g.payment is null) as without",
        shop.merchant,
    )
    assert row["account"] == row["recorded"]
    assert row["without"] == 0
