"""Health of a real instance while its database or Valkey is slow or dead, and many ask at once."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from florin.kit.server import health
from tests.conftest import Urls
from tests.support.instance import NO_TLS, Instance, instance
from tests.support.tcp_gate import Gate, gate
from tests.support.valkey_server import memory

MANY = 100
WITHIN_S = health.PROBE_TIMEOUT_S + health.PROBE_EVERY_S + 2  # and a slow machine


@dataclass(frozen=True, slots=True)
class Watched:
    """An instance whose dependencies can be taken away."""

    api: Instance
    http: httpx.AsyncClient
    database: Gate
    valkey: Gate

    async def ask(self, path: str) -> httpx.Response:
        return await self.http.get(path)

    async def many(self, path: str) -> list[httpx.Response]:
        """Ask at once; nothing may make an answer wait longer than a probe."""
        begun = time.monotonic()
        found = await asyncio.gather(*(self.ask(path) for _ in range(MANY)))
        assert time.monotonic() - begun < WITHIN_S
        return list(found)

    async def until(self, true: Callable[[httpx.Response], bool], path: str = "/health") -> float:
        """Ask until the answer is so; return the seconds that passed."""
        begun = time.monotonic()
        while not true(await self.ask(path)):
            assert time.monotonic() - begun < 60
            await asyncio.sleep(0.05)
        return time.monotonic() - begun


@pytest.fixture
async def watched(urls: Urls) -> AsyncGenerator[Watched]:
    parts = urlsplit(urls.app)
    assert parts.port is not None
    with memory() as valkey:
        async with gate(parts.port) as database, gate(valkey.port) as cache:
            url = urls.app.replace(f":{parts.port}/", f":{database.port}/")
            settings = {"REDIS_URL": f"redis://127.0.0.1:{cache.port}/0"}
            # A thread: while the instance starts, the gates must pass what it says.
            running = instance(f"{url}?connection_limit=2&pool_timeout=2", **settings)
            api = await asyncio.to_thread(running.__enter__)
            limits = httpx.Limits(max_connections=2 * MANY)
            try:
                async with httpx.AsyncClient(
                    base_url=api.base, verify=NO_TLS, timeout=60, limits=limits
                ) as http:
                    yield Watched(api, http, database, cache)
            finally:
                database.open()
                cache.open()
                await asyncio.to_thread(running.__exit__, None, None, None)


def checks(database: bool, redis: bool) -> Callable[[httpx.Response], bool]:
    def match(answer: httpx.Response) -> bool:
        found: Any = answer.json()["checks"]
        return found == {"database": database, "redis": redis}

    return match


async def test_the_document_is_that_of_the_contract(watched: Watched) -> None:
    await watched.until(checks(database=True, redis=True))
    for answer in await watched.many("/health"):
        assert answer.status_code == 200
        document = answer.json()
        assert document["status"] == "healthy"
        assert document["timestamp"].endswith("Z")
        assert document["uptime"] > 0
    assert {answer.status_code for answer in await watched.many("/health/ready")} == {200}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["cut", pytest.param("hold", marks=pytest.mark.long_form("fleets"))]
)
async def test_a_database_that_is_away_makes_it_unhealthy_then_unready_never_dead(
    watched: Watched, fault: str
) -> None:
    await watched.until(checks(database=True, redis=True))
    begun = time.monotonic()
    getattr(watched.database, fault)()
    assert await watched.until(checks(database=False, redis=True)) < WITHIN_S
    answers = await watched.many("/health")
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["status"] for answer in answers} == {"unhealthy"}
    # All instances share a primary that is away: the balancer is not emptied for that at once.
    assert time.monotonic() - begun < health.PRIMARY_GRACE_S - 1
    assert {answer.status_code for answer in await watched.many("/health/ready")} == {200}
    await watched.until(lambda answer: answer.status_code == 503, "/health/ready")
    assert time.monotonic() - begun > health.PRIMARY_GRACE_S - health.PROBE_EVERY_S - 1
    assert {answer.status_code for answer in await watched.many("/health/live")} == {200}
    watched.database.open()
    assert await watched.until(lambda answer: answer.status_code == 200) < WITHIN_S
    assert (await watched.ask("/health/ready")).status_code == 200


@pytest.mark.parametrize(
    "fault", ["cut", pytest.param("hold", marks=pytest.mark.long_form("fleets"))]
)
async def test_a_valkey_that_is_away_makes_it_unhealthy_and_it_stays_ready(
    watched: Watched, fault: str
) -> None:
    await watched.until(checks(database=True, redis=True))
    getattr(watched.valkey, fault)()
    assert await watched.until(checks(database=True, redis=False)) < WITHIN_S
    for path, status in (("/health", 503), ("/health/ready", 200), ("/health/live", 200)):
        assert {answer.status_code for answer in await watched.many(path)} == {status}
    watched.valkey.open()
    # The circuit breaker asks again after a pause.
    assert await watched.until(lambda answer: answer.status_code == 200) < WITHIN_S + 10


async def test_liveness_is_quick_while_everything_is_slow(watched: Watched) -> None:
    watched.database.hold()
    watched.valkey.hold()
    asking = [asyncio.ensure_future(watched.ask("/health")) for _ in range(MANY)]
    longest = 0.0
    for _ in range(30):
        begun = time.monotonic()
        assert (await watched.ask("/health/live")).status_code == 200
        longest = max(longest, time.monotonic() - begun)
        await asyncio.sleep(0.05)
    assert longest < 2
    answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} <= {200, 503}
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as http:  # at the other port, too
        for path, statuses in (("live", {200}), ("ready", {200, 503})):
            answer = await http.get(f"{watched.api.operations}/health/{path}")
            assert answer.status_code in statuses
