"""What every test may ask for: a PostgreSQL, and a migrated database of its own."""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from florin.kit.db import Database, connect
from tests import engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="repeat a random run")
    parser.addoption(
        "--operations", type=int, default=200_000, help="how many operations the model is asked for"
    )


@dataclass(frozen=True, slots=True)
class Urls:
    """One migrated database: as the application's role, its owner, and the superuser."""

    app: str
    owner: str
    superuser: str


@pytest.fixture(scope="session")
def postgres_18() -> Iterator[engine.Server]:
    with engine.server(engine.program()) as running:
        yield running


@pytest.fixture(scope="session")
async def template(postgres_18: engine.Server) -> engine.Server:
    await engine.make_template(postgres_18)
    return postgres_18


@pytest.fixture(scope="module")
async def urls(template: engine.Server, request: pytest.FixtureRequest) -> Urls:
    """A database of the module's own."""
    word = re.sub(r"[^a-z0-9]+", "_", str(request.node.name).lower())[-30:]
    name = f"{word}_{uuid.uuid4().hex[:8]}"
    await engine.make_database(template, name)
    return Urls(
        template.url("florin_app", name),
        template.url("florin_owner", name),
        template.url("postgres", name),
    )


@pytest.fixture(scope="module")
async def database(urls: Urls) -> AsyncGenerator[Database]:
    opened = Database(f"{urls.app}?connection_limit=20&pool_timeout=20")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def owner(urls: Urls) -> AsyncGenerator[Any]:
    """A connection as the owner of the ledger."""
    connection = await connect(urls.owner, name="tests")
    yield connection
    await connection.close()


@pytest.fixture
async def app(urls: Urls) -> AsyncGenerator[Any]:
    """A connection as the application."""
    connection = await connect(urls.app, name="tests")
    yield connection
    await connection.close()
