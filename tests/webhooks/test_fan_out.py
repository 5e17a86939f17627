"""Fan-out: each event becomes one delivery for each endpoint, despite transactions that run long,
replays and clock moves.
"""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from florin.kit import ids
from florin.kit.observability import metrics
from florin.kit.postgres.database import Database
from florin.webhooks.gauges import WebhookGauges
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.calls import Op
from tests.support.api_calls import issue, made
from tests.support.connections import connected
from tests.support.instance import Shop

FAN_OUT = "select made, more from webhook_fan_out(500, 5000, 3)"


@pytest.fixture(autouse=True)
async def only_ours(owner: Any) -> None:
    await owner.execute(
        "update florin.webhook_endpoint set state = 'deleted', disabled_reason = null"
    )


async def endpoint(http: httpx.AsyncClient, url: str = "https://hooks.example.com/") -> UUID:
    found = await made(http, "/webhook-endpoints", {"url": url, "events": ["*"]})
    return UUID(found["id"][4:])


async def deliveries(owner: Any, endpoint_id: UUID) -> list[Any]:
    return await owner.fetch(
        "select * from florin.webhook_delivery where endpoint = $1 order by position", endpoint_id
    )


async def test_an_event_becomes_one_delivery(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    first, second = await endpoint(http), await endpoint(http)
    for _ in range(3):
        await issue(http, shop, 1)
    rows = await asyncio.gather(*(database.all(FAN_OUT) for _ in range(4)))
    assert max(row["made"] for (row,) in rows) == 6
    for each in (first, second):
        found = await deliveries(owner, each)
        assert len(found) == len({row["event"] for row in found}) == 3
        assert [row["event"] for row in found] == sorted(row["event"] for row in found)
    (row,) = await database.all(FAN_OUT)
    assert (row["made"], row["more"]) == (0, False)


async def test_many_events_are_made_in_parts(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    found = await endpoint(http)
    for _ in range(7):
        await issue(http, shop, 1)
    parts = [(await database.all("select * from webhook_fan_out(3, 5000, 3)"))[0] for _ in range(3)]
    assert [(part["made"], part["more"]) for part in parts] == [(3, True), (3, True), (1, False)]
    assert len(await deliveries(owner, found)) == 7


async def test_an_event_of_a_long_transaction_is_not_skipped(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    slow = await issue(http, shop, 1000)
    found = await endpoint(http)
    running = owner.transaction()
    await running.start()
    op = Op(
        kind="redeem", merchant="m", id=ids.new_id(), card=UUID(slow["id"][4:]), amount=1, key="s"
    )
    (row,) = await calls.post(owner, {"m": shop.merchant}, [op])
    assert row["outcome"] == "ok"
    await issue(http, shop, 1)
    await database.all(FAN_OUT)
    await running.commit()
    await database.all(FAN_OUT)
    assert [row["type"] for row in await deliveries(owner, found)] == [
        "card.redeemed",
        "card.issued",
    ]


async def test_nothing_is_made_while_the_clock_moves(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    found = await endpoint(http)
    await issue(http, shop, 1)
    await owner.execute(
        "update florin.merchant set clock_moving = true where id = $1", shop.merchant
    )
    await database.all(FAN_OUT)
    assert await deliveries(owner, found) == []
    await owner.execute(
        "update florin.merchant set clock_moving = false where id = $1", shop.merchant
    )
    await database.all(FAN_OUT)
    assert len(await deliveries(owner, found)) == 1


async def test_a_replay_during_a_fan_out_is_kept(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database, urls: Urls
) -> None:
    found = await endpoint(http)
    await issue(http, shop, 1)
    async with connected(urls.owner) as other:
        replay = other.transaction()
        await replay.start()
        await other.execute(
            "update florin.webhook_endpoint set cursor_at = cursor_at - interval '1 hour'"
            " where id = $1",
            found,
        )
        back = await other.fetchval(
            "select cursor_at from florin.webhook_endpoint where id = $1", found
        )
        making = asyncio.ensure_future(database.all(FAN_OUT))
        async with asyncio.timeout(10):
            while True:
                if await owner.fetchval("select exists (select from pg_locks where not granted)"):
                    break
                await asyncio.sleep(0.01)
        await replay.commit()
        await making
    now = await owner.fetchval("select cursor_at from florin.webhook_endpoint where id = $1", found)
    assert now == back


async def test_the_gauges_show_what_waits_and_who_fails(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    waiting, failing = await endpoint(http), await endpoint(http)
    await issue(http, shop, 1)
    await database.all(FAN_OUT)
    await owner.execute(
        "update florin.webhook_delivery set next_at = next_at - interval '1 minute'"
        " where endpoint = $1",
        waiting,
    )
    await owner.execute(
        "update florin.webhook_delivery set next_at = next_at - interval '1 hour'"
        " where endpoint = $1",
        failing,
    )
    await owner.execute(
        "update florin.webhook_endpoint set failing_since = now() where id = $1", failing
    )
    await WebhookGauges(database).refresh()
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name.startswith("florin_webhook")
    }
    assert 60 <= shown["florin_webhook_oldest_seconds",] < 3000
    states = [shown["florin_webhook_endpoints", each] for each in ("enabled", "failing")]
    assert states == [1, 1]
