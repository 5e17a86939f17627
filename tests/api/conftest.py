"""What the tests over HTTP may ask for beside the shop and its client."""

from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.api.corpus import Books
from tests.conftest import Urls
from tests.instance import NO_TLS, Instance, Shop, instance, make_shop


@pytest.fixture
async def aging(owner: Any, database: Database, api: Instance) -> Any:
    """A client of a test merchant, and how to let its time pass."""
    shop = await make_shop(owner, database, test=True)

    async def pass_time(**span: float) -> None:
        await owner.execute(
            "update florin.merchant set clock_offset = clock_offset + $2 where id = $1",
            shop.merchant,
            timedelta(**span),
        )

    base = f"{api.base}/api/v1"
    async with httpx.AsyncClient(
        base_url=base, headers=shop.headers, timeout=60, verify=NO_TLS
    ) as client:
        yield client, shop, pass_time


@pytest.fixture(scope="module")
def open_api(urls: Urls) -> Iterator[Instance]:
    """An instance that does not stop a guesser: he would be refused before what is tested."""
    most = dict.fromkeys(("ADDRESS", "PRINCIPAL", "PREFIX"), "1000000")
    settings = {f"FLORIN_GUESSES_PER_{what}": number for what, number in most.items()}
    with instance(
        f"{urls.app}?connection_limit=5", FLORIN_REQUESTS_PER_MINUTE="1000000", **settings
    ) as running:
        yield running


@pytest.fixture
async def till(open_api: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    base = f"{open_api.base}/api/v1"
    async with httpx.AsyncClient(
        base_url=base, headers=shop.headers, timeout=60, verify=NO_TLS
    ) as client:
        yield client


@pytest.fixture
def books(owner: Any) -> Books:
    return Books(owner)
