"""Connections of tests to a database, closed afterwards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from florin.kit.postgres.database import open_connection


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Any]:
    """A connection to the database with this URL."""
    connection = await open_connection(url, name="tests")
    try:
        yield connection
    finally:
        await connection.close()
