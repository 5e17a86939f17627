"""A client without an API key: these tests send the tokens of members."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.support.instance import Instance
from tests.support.members import client_of


@pytest.fixture
async def http(api: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(api) as client:
        yield client
