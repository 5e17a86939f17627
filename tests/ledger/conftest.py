"""The ledger's tests run on the embedded PostgreSQL and on the oldest that is supported."""

import pytest

from florin.kit.postgres.database import Database
from florin.ledger.post import Ledger
from tests.conftest import Servers
from tests.support import postgres_server

OLDEST = "15"


@pytest.fixture(scope="session", params=["18", OLDEST])
def version(request: pytest.FixtureRequest) -> str:
    if request.param == OLDEST and request.config.getoption("--only-embedded"):
        pytest.skip("--only-embedded")
    if request.param == OLDEST and not postgres_server.DEBIAN_15.exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: postgresql-15)")
    return request.param


@pytest.fixture(scope="session")
async def template(servers: Servers, version: str) -> postgres_server.Server:
    return await servers.migrated(version)


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    return Ledger(database)
