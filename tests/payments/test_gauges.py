"""The metric of money at gateways that is not explained."""

from typing import Any

import httpx

from florin.kit.observability import database_metrics as metrics
from florin.kit.postgres.database import Database
from florin.payments.gauges import PaymentGauges
from tests.orders.selling import buy
from tests.support.api_calls import made
from tests.support.instance import Shop


async def shown(database: Database) -> tuple[float, float]:
    await PaymentGauges(database).refresh()
    values = {
        sample.name: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
    }
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
