"""Fixtures: a database with the table of the toy jobs, and workers that run them."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from florin.kit.postgres.database import open_connection
from tests.conftest import Urls
from tests.kit.queue import toys
from tests.support.workers import Crew, crew


@pytest.fixture(scope="module")
async def toy_table(urls: Urls) -> None:
    connection = await open_connection(urls.owner, name="tests")
    await connection.execute(toys.TABLE)
    await connection.close()


@pytest.fixture
async def play(urls: Urls, toy_table: None, owner: Any) -> AsyncGenerator[Crew]:
    """Workers of the toy jobs, on an empty queue."""
    del toy_table
    await owner.execute(
        "delete from florin.queue_job; delete from florin.outbox; delete from florin.queue_worker;"
        " delete from florin.toy; update florin.queue set paused = false"
    )
    with crew(urls.app, "tests.kit.queue.toys") as made:
        yield made
