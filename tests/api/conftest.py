"""What the tests over HTTP may ask for beside the shop and its client."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from florin.kit.db import Database
from tests.instance import Instance, make_shop


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
    async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=30) as client:
        yield client, shop, pass_time
