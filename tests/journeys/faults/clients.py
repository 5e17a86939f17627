"""Clients of a new merchant, one per instance."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import httpx

from florin.kit.postgres.database import Database, open_connection
from tests.support.instance import Instance, make_shop


class Served(Protocol):
    """A database and the instances that use it."""

    @property
    def instances(self) -> list[Instance]: ...

    def url(self, role: str) -> str: ...


@asynccontextmanager
async def opened(fleet: Served) -> AsyncGenerator[tuple[list[httpx.AsyncClient], str]]:
    """The clients and the program of the merchant."""
    url = fleet.url("florin_owner")
    owner, database = await open_connection(url, name="tests"), Database(fleet.url("florin_app"))
    try:
        await database.open()
        shop = await make_shop(owner, database)
    finally:
        await owner.close()
        await database.close()
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"{one.base}/api/v1", headers=shop.headers, timeout=60)
            )
            for one in fleet.instances
        ]
        yield made, shop.program
