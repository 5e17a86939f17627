"""Health: answered from the last probe; one probe runs at a time."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from florin.kit.http.drain import Drain
from florin.kit.server import health
from florin.kit.server.health import HealthMonitor
from tests.conftest import Urls
from tests.support.instance import NO_TLS, Instance


class Valkey:
    """Counts its calls, and answers when `gate` is set."""

    def __init__(self) -> None:
        self.pings = 0
        self.at_once = 0
        self.most_at_once = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def ping(self) -> None:
        self.pings += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.answers.wait()
        self.at_once -= 1


async def _nothing(_connection: Any) -> None: ...


@pytest.fixture
def valkey() -> Valkey:
    return Valkey()


def _health(dsn: str, valkey: Valkey) -> HealthMonitor:
    return HealthMonitor(
        drain=Drain(least_s=0, most_s=0),
        dsn=dsn,
        ping=valkey.ping,
        release="r1",
        instance="api-1",
        first=_nothing,
        last=_nothing,
    )


@pytest.fixture
async def probed(urls: Urls, valkey: Valkey) -> AsyncGenerator[HealthMonitor]:
    """Health that is probed only when it is requested."""
    made = _health(urls.app, valkey)
    try:
        yield made
    finally:
        await made.stop()


async def test_concurrent_requests_cause_one_probe(valkey: Valkey) -> None:
    probed = _health("postgresql://none@127.0.0.1:1/none", valkey)  # without a database
    valkey.answers.clear()
    asking = [asyncio.ensure_future(probed.report()) for _ in range(50)]
    while not valkey.pings:  # noqa: ASYNC110 -- until the probe has begun
        await asyncio.sleep(0.001)
    late = [asyncio.ensure_future(probed.report()) for _ in range(50)]
    await asyncio.sleep(0)
    valkey.answers.set()
    found = await asyncio.gather(*asking, *late)
    checks = [document["checks"] for _, document in found]
    assert checks == [{"database": False, "redis": True}] * 100
    assert valkey.pings == valkey.most_at_once == 1


async def test_the_answer_is_that_of_the_last_probe(
    probed: HealthMonitor, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_EVERY_S", 3600)
    probed.start()
    status, first = await probed.report()
    assert (status, first["checks"]) == (200, {"database": True, "redis": True})
    for _ in range(500):
        assert (await probed.report())[1]["timestamp"] == first["timestamp"]
    assert valkey.pings == 1


async def test_an_old_probe_is_not_used(
    probed: HealthMonitor, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await probed.report()
    monkeypatch.setattr(health, "FRESH_S", 0)
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    valkey.answers.clear()
    status, document = await probed.report()
    assert (status, document["checks"]) == (503, {"database": True, "redis": False})
    valkey.answers.set()
    assert (await probed.report())[0] == 200


async def test_a_disconnected_client_does_not_cancel_the_probe(
    probed: HealthMonitor, valkey: Valkey
) -> None:
    valkey.answers.clear()
    gone = asyncio.ensure_future(probed.report())
    stays = asyncio.ensure_future(probed.report())
    while not valkey.pings:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    gone.cancel()
    await asyncio.sleep(0)
    valkey.answers.set()
    assert (await stays)[0] == 200


async def test_health_is_right_under_concurrent_requests(api: Instance) -> None:
    async with httpx.AsyncClient(base_url=api.base, verify=NO_TLS, timeout=60) as http:
        for _ in range(50):
            answers = await asyncio.gather(*(http.get("/health") for _ in range(8)))
            assert [each.status_code for each in answers] == [200] * 8
