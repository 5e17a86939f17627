"""People have no key: their tests ask without credentials, and with tokens that they are given."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.support.instance import Instance
from tests.support.members import client_of


@pytest.fixture
async def http(api: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(api) as client:
        yield client
