"""Fixtures: an instance and workers that may send to loopback, and a receiver."""

from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from subprocess import Popen
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of
from tests.support.receivers.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.workers import Crew

ALLOW = {"FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20", **ALLOW) as running:
        yield running


@pytest.fixture
async def http(api: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(api, **shop.headers) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncGenerator[WebhookReceiver]:
    async with webhook_receiver() as made:
        yield made


@pytest.fixture
async def start_worker(workers: Crew, owner: Any) -> Callable[[], Popen[Any]]:
    """Starts a worker; the endpoints of earlier tests get nothing more."""
    await owner.execute(
        "update florin.webhook_endpoint set state = 'deleted', disabled_reason = null"
    )
    return partial(workers.start, **ALLOW)
