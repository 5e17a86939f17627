"""Overload: with all connections busy an instance refuses early and without effect."""

import asyncio
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.kit.postgres.pool_limits import reading_connections
from tests.conftest import Urls
from tests.support.instance import Instance, Shop, instance

_LIMIT, _WAIT_S = 2, 0.3
_READING = reading_connections(_LIMIT)


@pytest.fixture(scope="module")
def small(urls: Urls) -> Iterator[Instance]:
    """An instance with two connections, one more for reads, and a short wait for one."""
    url = f"{urls.app}?connection_limit={_LIMIT}&pool_timeout={_WAIT_S}"
    with instance(url) as running:
        yield running


_WAITING = (
    "select count(*) from pg_locks where not granted and relation = 'florin.program'::regclass"
)


async def test_an_exhausted_pool_refuses_early_and_changes_nothing(
    small: Instance, shop: Shop, owner: Any, database: Database
) -> None:
    del database
    base = f"{small.base}/api/v1"
    async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=60) as http:
        sale = {"program": shop.program, "amount": 500}
        sold = (await http.post("/cards", json=sale, headers={"Idempotency-Key": "first"})).json()
        async with owner.transaction():
            # Requests for programs wait for this lock, each with a connection of its pool.
            await owner.execute("lock table florin.program in access exclusive mode")
            asked = [http.get("/programs") for _ in range(_READING)]
            program = {"name": "Waiting", "currency": "EUR", "min_amount": 1, "max_amount": 9}
            asked += [
                http.post("/programs", json=program, headers={"Idempotency-Key": f"program {n}"})
                for n in range(_LIMIT)
            ]
            waiting = [asyncio.create_task(each) for each in asked]
            async with asyncio.timeout(60):
                while await owner.fetchval(_WAITING) < len(waiting):  # noqa: ASYNC110 -- in PostgreSQL
                    await asyncio.sleep(0.02)
            begun = time.monotonic()
            refused = await http.get("/programs")
            spend = {"card": sold["id"], "amount": 100, "currency": "EUR"}
            keyed = {"Idempotency-Key": "spend"}
            unspent = await http.post("/redemptions", json=spend, headers=keyed)
            waited = time.monotonic() - begun
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200, 201}
        for answer in (refused, unspent):
            assert answer.status_code == 503
            assert answer.json()["code"] == "overloaded"
            assert "retry-after" in answer.headers
        assert waited < 30  # two waits of a third of a second, on a busy machine
        card = (await http.get(f"/cards/{sold['id']}")).json()
        assert card["balance"] == 500
        # The same key, once there is room: nothing of the first try is in its way.
        spent = await http.post("/redemptions", json=spend, headers=keyed)
        assert spent.status_code == 201
        assert spent.headers.get("idempotency-replayed") is None
        metrics = (await http.get(f"{small.operations}/metrics")).text
        for server in ("primary", "primary reads"):
            (timeouts,) = re.findall(
                rf'florin_pool_timeouts_total{{server="{server}"}} (\S+)', metrics
            )
            assert float(timeouts) >= 1
        # Connections in use, and how long requests waited for one.
        assert 'florin_pool_open{server="primary"}' in metrics
        assert 'florin_pool_idle{server="primary"}' in metrics
        (waited,) = re.findall(r'florin_pool_wait_seconds_count\{server="primary"\} (\S+)', metrics)
        assert float(waited) >= 1
        assert f'florin_pool_limit{{server="primary"}} {_LIMIT}.0' in metrics
