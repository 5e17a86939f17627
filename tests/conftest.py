"""Fixtures of all tests: a PostgreSQL server and a migrated database per module."""

import re
import signal
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import settings

from florin.kit.postgres.database import Database
from florin.worker import PLAN
from tests.support import long_forms, postgres_server
from tests.support.connections import connected
from tests.support.hostile_requests import Books
from tests.support.instance import NO_TLS, Instance, Shop, instance, make_shop
from tests.support.members import client_of
from tests.support.workers import Crew, crew

# The same examples each time, without a deadline; --hypothesis-profile=default draws others.
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    long_forms.add_option(parser)
    parser.addoption("--minutes", type=float, default=0, help="how long Schemathesis goes on")
    parser.addoption(
        "--every-step", action="store_true", help="deployments: killed at every step (minutes)"
    )
    parser.addoption("--seed", type=int, default=None, help="repeat a random run")
    parser.addoption(
        "--operations", type=int, default=100_000, help="how many operations the model is asked for"
    )
    parser.addoption("--reads", type=int, default=3_000, help="how many reads replicas are asked")
    parser.addoption("--only-embedded", action="store_true", help="leave the oldest PostgreSQL out")
    parser.addoption("--containers", action="store_true", help="also those that need an engine")
    parser.addoption("--patroni", action="store_true", help="also on a Patroni cluster (a minute)")
    parser.addoption(
        "--endpoints", type=int, default=60, help="webhook endpoints, of which a third is dead"
    )
    parser.addoption("--orders", type=int, default=40, help="how many orders are paid under faults")
    parser.addoption(
        "--rounds",
        type=int,
        default=2,
        help="how often each part is killed in the middle of a load",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long_forms.select_tests(config, items)


def pytest_configure() -> None:
    # On SIGTERM, for example after a time-out, stop all started processes as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell ignores SIGINT in background jobs, and child processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class Urls:
    """One migrated database: as the application's role, its owner, and the superuser."""

    app: str
    owner: str
    superuser: str


class Servers:
    """PostgreSQL servers by version, each started and migrated when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, postgres_server.Server] = {}

    async def migrated(self, version: str) -> postgres_server.Server:
        if version not in self._running:
            program = postgres_server.program(debian=version == "15")
            self._running[version] = self._stack.enter_context(postgres_server.server(program))
            await postgres_server.make_template(self._running[version])
        return self._running[version]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session")
async def template(servers: Servers) -> postgres_server.Server:
    """A server with a migrated database to copy; see also ledger/conftest.py."""
    return await servers.migrated("18")


@pytest.fixture(scope="module")
async def urls(template: postgres_server.Server, request: pytest.FixtureRequest) -> Urls:
    """A database of the module's own."""
    word = re.sub(r"[^a-z0-9]+", "_", str(request.node.name).lower())[-30:]
    name = f"{word}_{uuid.uuid4().hex[:8]}"
    await postgres_server.make_database(template, name)
    return Urls(
        template.url("florin_app", name),
        template.url("florin_owner", name),
        template.url("postgres", name),
    )


@pytest.fixture(scope="module")
async def database(urls: Urls) -> AsyncGenerator[Database]:
    opened = Database(f"{urls.app}?connection_limit=20&pool_timeout=20")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def owner(urls: Urls) -> AsyncGenerator[Any]:
    """A connection as the owner of the ledger."""
    async with connected(urls.owner) as connection:
        yield connection


@pytest.fixture
async def app(urls: Urls) -> AsyncGenerator[Any]:
    """A connection as the application."""
    async with connected(urls.app) as connection:
        yield connection


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    """An API process on the module's database."""
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20") as running:
        yield running


@pytest.fixture
async def shop(owner: Any, database: Database) -> Shop:
    return await make_shop(owner, database)


@pytest.fixture
async def http(api: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with the API key of the merchant, below /api/v1."""
    async with client_of(api, **shop.headers) as client:
        yield client


@pytest.fixture
async def aging(owner: Any, database: Database, api: Instance) -> Any:
    """A client of a test merchant, and a function that advances its time."""
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
    """An instance without limits on guesses, which would refuse the tested requests."""
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


@pytest.fixture
async def workers(urls: Urls, owner: Any) -> AsyncGenerator[Crew]:
    """Florin's workers on the database of the module."""
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")
    # No scheduled ticks: each test creates its own jobs.
    await owner.execute(
        "insert into florin.queue_tick (schedule, tick)"
        " select s, date_trunc('minute', now()) + n * interval '1 minute'"
        " from unnest($1::text[]) s,"
        " generate_series(-1440, 10) n on conflict do nothing",
        [schedule.name for schedule in PLAN.schedules],
    )
    with crew(urls.app, "florin", "worker") as made:
        yield made
