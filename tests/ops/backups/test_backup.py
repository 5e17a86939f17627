"""Backup: it and the log since then restore the database to an instant; its ledger balances.

From the directory, in place; and from a bucket, on another machine, after the loss of the first.
"""

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from florin.ops.backups import base_backup
from florin.ops.backups.s3 import Bucket, open_bucket
from florin.ops.fleet.observe import observe_fleet
from florin.ops.system import processes
from tests.ops.replicated_fleet import Fleet
from tests.support import s3_storage

ONE = ("--replicas", "0", "--api", "1", "--workers", "0")


async def sell(http: httpx.AsyncClient, key: str) -> str:
    answer = await http.post(
        "/cards",
        json={"program": http.headers["x-program"], "amount": 1000},
        headers={"Idempotency-Key": key},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


codes: dict[str, str] = {}  # by card, as their buyers have them


async def shown_code(http: httpx.AsyncClient, key: str) -> str:
    """The code of a card: its issue repeated under the same key, opened with the seal key."""
    answer = await http.post(
        "/cards",
        json={"program": http.headers["x-program"], "amount": 1000},
        headers={"Idempotency-Key": key},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["code"]


def exported(fleet: Fleet, file: Path) -> None:
    """Export the secrets; the doctor warns before, and not after."""

    def advice() -> dict[str, str]:
        found = json.loads(fleet.florin("doctor", "fleet", "--json").stdout)["checks"]
        [one] = [each for each in found if each["name"] == "secrets export"]
        return one

    assert advice()["result"] == "warn"
    assert "never exported" in advice()["message"]
    said = fleet.florin("backup", "--secrets", str(file))
    assert said.returncode == 0, said.stderr
    assert file.read_bytes().startswith(b"age-encryption.org/")
    assert file.stat().st_mode & 0o077 == 0
    assert advice()["result"] == "ok"


async def opened(http: httpx.AsyncClient, card: str) -> None:
    """The card is found by its code (pepper), and the code is shown again (seal key)."""
    found = await http.post("/cards/lookup", json={"code": codes[card]})
    assert found.status_code == 200, found.text
    assert found.json()["id"] == card
    assert await shown_code(http, "before") == codes[card]


@pytest.mark.slow
async def test_a_fleet_is_restored_to_an_instant(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with s3_storage.storage() as stored:
        first = Fleet(tmp_path_factory.mktemp("backup"))
        secret = stored.environ | {"BACKUP_KEY": s3_storage.backup_key()}
        first.environ |= secret
        first.home.path.chmod(0o755)
        second = Fleet(tmp_path_factory.mktemp("elsewhere"))
        try:
            first.up(*ONE)
            async with first.http() as http, first.segments_ending():
                await sell(http, "first")
                result = await asyncio.to_thread(first.florin, "backup", "--json")
                assert result.returncode == 0, result.stderr
                before = await sell(http, "before")
                codes[before] = await shown_code(http, "before")
                await asyncio.sleep(1.2)
                at = datetime.now(UTC)
                await asyncio.sleep(0.2)
                after = await sell(http, "after")
                bucket = open_bucket(secret.get)
                assert bucket is not None
                await verified(first, http, bucket, at)
                assert all(name.endswith(".age") for name in everything(bucket))
                await asyncio.to_thread(refused_with_another_key, first)
                running = first.florin("restore", "--at", at.isoformat())
                assert running.returncode != 0
                assert "florin down" in running.stderr
            kept = tmp_path_factory.mktemp("safe") / "secrets.age"
            exported(first, kept)
            move(first, second)
            restored_in_place(first, at)
            lose(first)
            refused = second.florin("restore", "--at", at.isoformat())
            assert refused.returncode == 1
            assert "Give --secrets FILE" in refused.stderr
            result = second.florin("restore", "--at", at.isoformat(), "--secrets", str(kept))
            assert result.returncode == 0, result.stderr
            second.up(*ONE)
            async with second.http() as http:
                await opened(http, before)
                assert (await http.get(f"/cards/{before}")).status_code == 200
                assert (await http.get(f"/cards/{after}")).status_code == 404
                proof = (await http.get("/ledger/proof")).json()
                assert proof["balanced"] is True
                assert proof["cards"] == 2
                await sell(http, "later")
        finally:
            second.end()
            lose(first)


async def verified(fleet: Fleet, http: httpx.AsyncClient, bucket: Bucket, at: datetime) -> None:
    """`--verify` reports that all can be restored, and that it cannot when a part is missing."""
    result = await asyncio.to_thread(fleet.florin, "backup", "--verify", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["merchants"] >= 1
    assert found["cards"] == found["entries"] == 3
    assert found["kept_within_s"] < 60
    assert datetime.fromisoformat(found["reaches"]) > at
    metrics = (await http.get(_metrics(fleet))).text
    assert 'florin_backup_failing{what="verified"} 0' in metrics
    assert 'florin_backup_timestamp_seconds{what="shipped"} 1' in metrics
    assert b"BACKUP_" not in environment_of_an_instance(fleet)
    with a_part_missing(bucket):
        failed = await asyncio.to_thread(fleet.florin, "backup", "--verify")
    assert failed.returncode == 1
    assert "is missing" in failed.stderr
    shown = await asyncio.to_thread(fleet.florin, "status", "--json")
    assert "is missing" in json.loads(shown.stdout)["backups"]["verified"]["failing"]


@contextlib.contextmanager
def a_part_missing(bucket: Bucket) -> Generator[None]:
    """Move a segment in the middle of the log away."""
    (system,) = bucket.folders()
    log = bucket.below(system).below("wal")
    name = [name for name in log.names() if base_backup.is_older_segment(name, "F" * 24)][-2]
    content = log.read(name)
    log.drop([name])
    try:
        yield
    finally:
        log.write(name, content)


def restored_in_place(fleet: Fleet, at: datetime) -> None:
    """Restore from the directory; the old data is kept."""
    fleet.environ = {n: v for n, v in fleet.environ.items() if not n.startswith("BACKUP_")}
    assert fleet.florin("down").returncode == 0
    for wrong in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "yesterday"):
        assert fleet.florin("restore", "--at", wrong).returncode == 1
    result = fleet.florin("restore", "--at", at.isoformat(), "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    for data in (document["restored"], document["before"]):
        assert (Path(data) / "PG_VERSION").exists()


def _metrics(fleet: Fleet) -> str:
    return f"http://127.0.0.1:{fleet.home.layout().ports['balancer-operations']}/metrics/fleet"


def environment_of_an_instance(fleet: Fleet) -> bytes:
    return Path(f"/proc/{observe_fleet(fleet.home).of('api')[0].pid}/environ").read_bytes()


def move(fleet: Fleet, other: Fleet) -> None:
    """Another machine: it has only what an operator keeps apart from the backups."""
    other.environ |= {n: v for n, v in fleet.environ.items() if n.startswith("BACKUP_")}
    other.home.path.chmod(0o755)
    shutil.copy2(fleet.home.path / "demo.json", other.home.path / "demo.json")


def everything(bucket: Bucket) -> list[str]:
    """The names of all stored objects."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    return [each["Key"] for page in pages for each in page["Contents"]]


def refused_with_another_key(fleet: Fleet) -> None:
    own = fleet.environ["BACKUP_KEY"]
    fleet.environ["BACKUP_KEY"] = s3_storage.backup_key()
    result = fleet.florin("backup", "--verify")
    fleet.environ["BACKUP_KEY"] = own
    assert result.returncode == 1
    assert "was encrypted with another key" in result.stderr.strip().splitlines()[-1]
    assert fleet.florin("backup", "--verify").returncode == 0


def lose(fleet: Fleet) -> None:
    """Lose the processes and their files at the same time."""
    parts = [part for part in observe_fleet(fleet.home).parts if part.process]
    for part in sorted(
        parts, key=lambda part: part.role != "supervisor"
    ):  # first, or it starts new ones
        assert part.process is not None
        processes.send_signal(part.process, signal.SIGKILL)
    place = fleet.home.layout().data_dir
    shutil.rmtree(fleet.home.path, ignore_errors=True)
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)


def test_a_backup_needs_a_running_database(tmp_path: Path) -> None:
    result = Fleet(tmp_path).florin("backup")
    assert result.returncode == 1
    assert "has no database of its own" in result.stderr
