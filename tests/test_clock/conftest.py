"""Fixtures: a test merchant, its client, and a worker."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import Json, post, read
from tests.support.instance import Instance, Shop, instance, make_shop
from tests.support.members import client_of
from tests.support.workers import Crew

ALLOW = {"FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **ALLOW) as running:
        yield running


@pytest.fixture
async def test_shop(owner: Any, database: Database) -> Shop:
    return await make_shop(owner, database, test=True)


@pytest.fixture
async def client(api: Instance, test_shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(api, **test_shop.headers) as made:
        yield made


@pytest.fixture
def worker(workers: Crew) -> Any:
    return workers.start(**ALLOW)


async def advance(http: httpx.AsyncClient, to: str, within_s: float = 60) -> Json:
    """Move the clock and wait for its job."""
    answer = await post(http, "/test-clock/advance", {"to": to})
    assert answer.status_code == 202, answer.text
    return await finished(http, answer.json()["id"], within_s)


async def finished(http: httpx.AsyncClient, job: str, within_s: float = 60) -> Json:
    """Wait until a job is finished."""
    async with asyncio.timeout(within_s):
        while True:
            shown = await read(http, f"/jobs/{job}")
            assert shown["state"] != "failed", shown
            if shown["state"] == "finished":
                return shown
            await asyncio.sleep(0.1)
