"""Unpaid orders lapse; one that is being paid again does not."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.orders import jobs
from tests.orders.selling import choose, place
from tests.support.api_calls import made, read
from tests.support.instance import Shop
from tests.support.waiting import until

GATE = 7_210_001  # an advisory lock


async def unpaid(http: httpx.AsyncClient, shop: Shop, owner: Any) -> str:
    """An order whose only attempt to pay it ended two days ago."""
    order = await place(http, shop)
    await choose(order, "expired")
    for table in ("orders set placed_at = placed_at", "payment set created_at = created_at"):
        await owner.execute(
            f"update florin.{table} - interval '2 days' where merchant = $1", shop.merchant
        )
    return str(order["id"])


async def lapse(database: Database) -> None:
    async with database.transaction() as tx:
        await jobs.lapse_orders(tx)


async def test_an_unpaid_order_lapses(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    order = await unpaid(http, shop, owner)
    await lapse(database)
    assert (await read(http, f"/orders/{order}"))["state"] == "lapsed"
    again = await made(http, f"/orders/{order}/retry", status=200)
    assert (again["state"], again["pay_url"] is not None) == ("placed", True)
    await lapse(database)
    assert (await read(http, f"/orders/{order}"))["state"] == "placed"


async def test_an_order_that_is_paid_again_meanwhile_does_not_lapse(
    http: httpx.AsyncClient,
    shop: Shop,
    database: Database,
    owner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The query has its snapshot and waits before it locks; the other attempt begins then."""
    order = await unpaid(http, shop, owner)
    gated = jobs.LAPSED.replace(
        "order by", f"and pg_advisory_xact_lock_shared({GATE}) is not null order by"
    )
    assert gated != jobs.LAPSED
    monkeypatch.setattr(jobs, "LAPSED", gated)
    await owner.execute(f"select pg_advisory_lock({GATE})")
    try:
        lapsing = asyncio.create_task(lapse(database))

        async def waits() -> Any:
            return await owner.fetchval(
                "select count(*) from pg_locks where locktype = 'advisory' and objid = $1"
                " and not granted",
                GATE,
            )

        await until(waits, within_s=20)
        again = await made(http, f"/orders/{order}/retry", status=200)
    finally:
        await owner.execute(f"select pg_advisory_unlock({GATE})")
    await lapsing
    assert (await read(http, f"/orders/{order}"))["state"] == "placed"
    await choose(again, "paid")
    assert (await read(http, f"/orders/{order}"))["state"] == "fulfilled"
