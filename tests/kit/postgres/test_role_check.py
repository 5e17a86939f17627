"""The role check: whether a process may serve with the role that owns the ledger."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from florin.kit.postgres import database
from florin.ops.diagnostics import doctor
from florin.ops.fleet.home import Home
from tests.conftest import Urls
from tests.support import postgres_server
from tests.support.instance import SECRETS, Instance, instance
from tests.support.waiting import until
from tests.support.workers import crew

STRONG = {name: f"{uuid.uuid4().hex}-{uuid.uuid4().hex}" for name in SECRETS}
MISSING = "could disable the ledger's guards"


def url_of(urls: Urls, who: str) -> str:
    return {"app": urls.app, "owner": urls.owner, "superuser": urls.superuser}[who]


@pytest.mark.parametrize("who", ["owner", "superuser"])
def test_production_refuses_the_owner(urls: Urls, who: str) -> None:
    with (
        pytest.raises(AssertionError, match=MISSING),
        instance(url_of(urls, who), FLORIN_ENV="production", **STRONG),
    ):
        pass


def test_a_refused_role_has_an_exit_code(urls: Urls, tmp_path: Path) -> None:
    made = Instance({}, 0, tmp_path / "log")
    with instance(urls.app) as running:
        environ = dict(running.environ)
    environ |= {"DATABASE_URL": urls.owner, "FLORIN_ENV": "production", **STRONG}
    made = Instance(environ, running.port, tmp_path / "log")
    with pytest.raises(AssertionError):
        made.start()
    assert made.process is not None
    assert made.process.wait(60) == 2


@pytest.mark.parametrize(
    ("who", "settings", "warns"),
    [
        ("app", {"FLORIN_ENV": "production", **STRONG}, False),
        ("owner", {"FLORIN_ENV": "production", "FLORIN_SINGLE_ROLE": "accept", **STRONG}, True),
        ("owner", {"FLORIN_ENV": "test"}, True),
    ],
)
def test_other_roles_and_settings_start(
    urls: Urls, who: str, settings: dict[str, str], warns: bool
) -> None:
    with instance(url_of(urls, who), **settings) as running:
        running.stop()  # an ended process has written its whole log
        assert (MISSING in running.log.read_text("utf-8")) is warns


async def test_a_worker_refuses_the_owner(urls: Urls) -> None:
    with crew(urls.owner, "florin", "worker") as workers:
        process = workers.start(FLORIN_ENV="production", **STRONG)

        async def ended() -> bool:
            return process.poll() is not None

        await until(ended)
        assert process.returncode == 2
        assert MISSING in workers.log(process)


@dataclass(frozen=True, slots=True)
class Empty:
    """A separate server with an empty database, since roles belong to a whole server."""

    server: postgres_server.Server
    superuser: Any


@pytest.fixture
async def empty() -> AsyncGenerator[Empty]:
    with postgres_server.server(postgres_server.program()) as server:
        superuser = await database.open_connection(server.url("postgres", "postgres"), name="tests")
        try:
            yield Empty(server, superuser)
        finally:
            superuser.terminate()


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.defpath, "DATABASE_URL": url, "PYTHONPATH": str(Path("src").absolute())}
    command = [sys.executable, "-P", "-m", "florin", "migrate"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


async def test_one_url_creates_the_second_role_if_permitted(empty: Empty) -> None:
    await empty.superuser.execute("create role one login")
    await empty.superuser.execute("create database f owner one")
    url = empty.server.url("one", "f")
    done = await asyncio.to_thread(migrate, url)
    assert (done.returncode, "CREATE ROLE florin_app" in done.stderr) == (0, True), done.stderr
    exists = "select count(*) from pg_roles where rolname = 'florin_app'"
    assert await empty.superuser.fetchval(exists) == 0

    await empty.superuser.execute("alter role one createrole")
    done = await asyncio.to_thread(migrate, url)
    assert (done.returncode, "ALTER ROLE florin_app" in done.stderr) == (0, True), done.stderr
    app = await database.open_connection(empty.server.url("florin_app", "f"), name="tests")
    try:
        assert await app.fetchval("select count(*) from florin.card") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("delete from florin.card")
    finally:
        await app.close()
    settings = {"FLORIN_ENV": "production", **STRONG}
    with instance(empty.server.url("florin_app", "f"), **settings) as running:
        assert MISSING not in running.log.read_text("utf-8")


@pytest.mark.slow
def test_an_instance_without_a_database_is_alive(tmp_path: Path, urls: Urls) -> None:
    """The role cannot be checked: the instance is alive and not ready."""
    with instance(urls.app) as running:
        environ, port = dict(running.environ), running.port
    environ |= {
        "DATABASE_URL": "postgresql://florin_owner@127.0.0.1:1/x",
        "FLORIN_ENV": "production",
    }
    made = Instance(environ | STRONG, port, tmp_path / "log")
    with (tmp_path / "log").open("ab") as log:
        made.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "florin", "api"],
            stdout=log,
            stderr=log,
            env=dict(made.environ),
        )
    try:
        deadline = time.monotonic() + 90
        while not _lives(made.base):
            assert made.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.5)  # meanwhile it checks again
        assert made.process.poll() is None
        assert _lives(made.base)
        assert not made.ready()
    finally:
        made.stop()


def _lives(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health/live", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("who", "env", "result"),
    [
        ("owner", "production", "fail"),
        ("owner", "development", "warn"),
        ("app", "production", "ok"),
    ],
)
async def test_doctor_reports_the_role(
    urls: Urls, tmp_path: Path, who: str, env: str, result: str
) -> None:
    environ = {"DATABASE_URL": url_of(urls, who), "FLORIN_ENV": env}
    found = await doctor.run_checks(Home(tmp_path), environ, "db")
    (check,) = [each for each in found if each.name == "role check"]
    assert check.result == result
    assert (MISSING in check.message) is (result != "ok")
