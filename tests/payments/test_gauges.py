"""The metrics of money at gateways that is not explained, and of disputes."""

from typing import Any

import httpx

from florin.kit import ids
from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Database
from florin.payments.gauges import PaymentGauges
from tests.orders.selling import buy
from tests.orders.test_orders import selling
from tests.orders.test_refunds import pay_twice
from tests.support.api_calls import made, post
from tests.support.instance import Shop


async def values_of(database: Database) -> dict[str, float]:
    await PaymentGauges(database).refresh()
    return {
        sample.name: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
    }


async def shown(database: Database) -> tuple[float, float]:
    values = await values_of(database)
    oldest = values["florin_unexplained_payments_oldest_seconds"]
    return values["florin_unexplained_payments"], oldest


async def test_only_money_in_review_is_unexplained(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    card = (await buy(http, shop))["items"][0]["cards"][0]
    assert await shown(database) == (0, 0)
    item = {"program": shop.program, "amount": 300, "card": card}
    order = await made(
        http, "/orders", {"items": [item], "buyer": {"email": "a@b.example"}, "gateway": "test"}
    )
    await made(http, f"/cards/{card}/block", status=200)
    async with httpx.AsyncClient() as browser:
        await browser.post(order["pay_url"], data={"outcome": "paid"})
    await owner.execute(
        "update florin.payment set paid_at = paid_at - interval '1 hour' where merchant = $1",
        shop.merchant,
    )
    payments, oldest = await shown(database)
    assert (payments, 3600 <= oldest < 3900) == (1, True)
    await owner.execute("update florin.merchant set test = true where id = $1", shop.merchant)
    assert await shown(database) == (0, 0)
    await owner.execute("update florin.merchant set test = false where id = $1", shop.merchant)
    await made(http, f"/orders/{order['id']}/refunds", {})
    assert await shown(database) == (0, 0)


async def test_a_surplus_that_was_not_returned_is_unexplained(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    _, order = await pay_twice(http, shop, database, owner)
    assert (await shown(database))[0] == 1
    await made(http, f"/orders/{order['id']}/refunds", {})
    assert await shown(database) == (0, 0)


async def test_disputes_are_due_three_days_before_their_deadline(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    order = await buy(http, shop)

    async def disputes() -> tuple[float, float]:
        values = await values_of(database)
        return values["florin_disputes_open"], values["florin_disputes_due"]

    async def look() -> None:
        services, _ = selling(database)
        await services.looker.look(shop.merchant, ids.require_id("pay", order["payment"]))

    async def due_in(days: int) -> None:
        await owner.execute(
            "update florin.dispute set due_at = clock_timestamp() + make_interval(days => $2)"
            " where merchant = $1",
            shop.merchant,
            days,
        )

    assert await disputes() == (0, 0)
    path = f"/test-gateway/payments/{order['payment']}"
    assert (await post(http, f"{path}/dispute")).is_success
    await look()
    assert await disputes() == (1, 0)
    await due_in(4)
    assert await disputes() == (1, 0)
    for days in (2, -1):
        await due_in(days)
        assert await disputes() == (1, 1)
    await owner.execute("update florin.merchant set test = true where id = $1", shop.merchant)
    assert await disputes() == (0, 0)
    await owner.execute("update florin.merchant set test = false where id = $1", shop.merchant)
    assert (await post(http, f"{path}/win")).is_success
    await look()
    assert await disputes() == (0, 0)
