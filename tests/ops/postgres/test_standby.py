"""Standby: the data of an old primary is kept until a complete copy exists."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.postgres import server as postgres
from florin.ops.postgres import standby
from florin.ops.postgres.server import Postgres
from florin.ops.postgres.standby import make_standby, read_control_file
from florin.ops.system import os_user
from florin.ops.system.console import OperatorError
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def made() -> Iterator[Postgres]:
    """A former primary after a clean shutdown: a database without a copy."""
    folder = Path(tempfile.mkdtemp(prefix="florin-test-"))
    folder.chmod(0o755)
    home = Home(folder / "home")
    home.make()
    place, account = os_user.prepare_account(home.path, None)
    server = postgres.embedded_postgres(place, free_port(), secrets.ensure_secrets(home), account)
    server.prepare()
    try:
        yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def old(made: Postgres) -> Iterator[Postgres]:
    """A copy of that server, one per test."""
    data = made.data.parent / "old" / "data"
    shutil.copytree(made.data, data, symlinks=True)
    os_user.give_ownership(data.parent, made.account)
    try:
        yield replace(made, data=data, name="postgres-2")
    finally:
        shutil.rmtree(data.parent)


def system(server: Postgres) -> str | None:
    return read_control_file(server).get("Database system identifier")


def test_a_copy_that_fails_leaves_an_old_primary_as_it_was(made: Postgres, old: Postgres) -> None:
    before = system(old)
    gone = replace(made, port=free_port())  # no server listens there: pg_rewind and the copy fail
    for _ in range(2):
        with pytest.raises(OperatorError, match="could not be copied from"):
            make_standby(old, gone, rebuild=False)
        assert before is not None
        assert system(old) == before


def test_a_disk_too_small_for_both_keeps_an_old_primary(
    made: Postgres, old: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large(_primary: Postgres) -> int:
        return 2**30

    monkeypatch.setattr(standby, "_megabytes", large)
    with pytest.raises(OperatorError, match=r"is full: .* was kept: postgres-2 was the primary"):
        make_standby(old, replace(made, port=free_port()), rebuild=False)
    assert system(old) is not None


def test_an_interrupted_replacement_is_finished_or_undone(made: Postgres, old: Postgres) -> None:
    before = system(old)
    replaced = old.data.with_name("data.replaced")
    old.data.rename(replaced)  # killed after the first of the two renames
    with pytest.raises(OperatorError):
        make_standby(old, replace(made, port=free_port()), rebuild=False)
    assert system(old) == before
    assert not replaced.exists()
    shutil.copytree(old.data, replaced)  # killed before the replaced data was removed
    os_user.give_ownership(replaced, made.account)
    with pytest.raises(OperatorError):
        make_standby(old, replace(made, port=free_port()), rebuild=False)
    assert system(old) == before
    assert not replaced.exists()
