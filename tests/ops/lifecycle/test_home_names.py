"""Home names: a home may have any name of a directory, and everything that uses its path works."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import observe_fleet
from florin.ops.postgres import wal_archive
from florin.ops.system.console import OperatorError
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet

# Every character that is special to a parser of one of the generated files.
NAME = 'it\'s 100% "$HOME" `id`; #1 %p \\n caf\N{LATIN SMALL LETTER E WITH ACUTE}\nand a line'
WHOLE = ("--replicas", "1", "--api", "1", "--workers", "0", "--valkey", "sentinel")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """In a directory that all users may enter, so that the engines' data are in the home."""
    parent = Path(tempfile.mkdtemp(prefix="florin-test-"))
    parent.chmod(0o755)
    made = Fleet(parent / NAME)
    made.home.path.mkdir(mode=0o755)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(parent, ignore_errors=True)


@pytest.mark.long_form("fleets")
async def test_up_backup_and_restore_in_a_home_with_any_name(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.up, *WHOLE)
    assert fleet.home.layout().data_dir == str(fleet.home.path)
    result = await asyncio.to_thread(fleet.florin, "backup", "--json")
    assert result.returncode == 0, result.stderr
    backup = Path(json.loads(result.stdout)["backup"])
    assert backup.is_relative_to(fleet.home.path)
    archive = wal_archive.archive_dir(fleet.home.path)
    assert list(archive.glob("*.gz")), "the archive received nothing"
    async with fleet.http() as http:
        body = {"program": http.headers["x-program"], "amount": 1000}
        sold = await http.post("/cards", json=body, headers={"Idempotency-Key": "one"})
    assert sold.status_code == 201, sold.text
    checks = json.loads((await asyncio.to_thread(fleet.florin, "doctor", "--json")).stdout)
    found = {each["name"]: each for each in checks["checks"]}
    assert found["archive"]["result"] == "ok", found["archive"]
    result = await asyncio.to_thread(fleet.florin, "backup", "--verify", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["cards"] == 1
    assert (await asyncio.to_thread(fleet.florin, "down")).returncode == 0
    restored = await asyncio.to_thread(fleet.florin, "restore")
    assert restored.returncode == 0, restored.stderr
    await asyncio.to_thread(fleet.up, *WHOLE)
    async with fleet.http() as http:
        assert (await http.get(f"/cards/{sold.json()['id']}")).status_code == 200
        assert (await http.get("/ledger/proof")).json()["balanced"] is True
    roles = {part.role for part in observe_fleet(fleet.home).parts if part.process}
    assert {"postgres-replica", "sentinel", "balancer"} <= roles


@pytest.mark.long_form("fleets")
async def test_a_backup_without_its_log_is_not_recorded(fleet: Fleet) -> None:
    """The server cannot write the archive: the copy is made, but its log is missing."""
    await asyncio.to_thread(fleet.up, "--replicas", "0", "--api", "1", "--workers", "0")
    result = await asyncio.to_thread(fleet.florin, "backup")
    assert result.returncode == 0, result.stderr
    archive = wal_archive.archive_dir(fleet.home.path)
    with blocked(archive):
        checks = json.loads((await asyncio.to_thread(fleet.florin, "doctor", "--json")).stdout)
        found = {each["name"]: each for each in checks["checks"]}
        result = await asyncio.to_thread(fleet.florin, "backup")
    assert found["archive"]["result"] == "fail"
    assert "is not archived" in found["archive"]["message"]
    assert result.returncode == 1
    assert "is not archived" in result.stderr
    assert "could not archive" in result.stderr
    status = json.loads((await asyncio.to_thread(fleet.florin, "status", "--json")).stdout)
    assert "is not archived" in status["backups"]["taken"]["failing"]
    # Once the archive is writable again, all segments arrive, and the next backup succeeds.
    result = await asyncio.to_thread(until, lambda: _backed_up(fleet), "a backup")
    assert result


def _backed_up(fleet: Fleet) -> bool:
    return fleet.florin("backup").returncode == 0


@contextlib.contextmanager
def blocked(archive: Path) -> Generator[None]:
    """Put a directory in its place in which the engines' account cannot write."""
    aside = archive.with_name("aside")
    archive.rename(aside)
    archive.mkdir(mode=0o555)
    try:
        yield
    finally:
        archive.rmdir()
        aside.rename(archive)


def test_a_home_with_a_colon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="contains ':'"):
        Home(tmp_path / "a:b").make()
