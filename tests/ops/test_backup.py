"""A backup and the log since then bring the database to an instant; its books prove themselves."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tests.ops.replicated import Fleet


async def sell(http: httpx.AsyncClient, key: str) -> str:
    said = await http.post(
        "/cards",
        json={"program": http.headers["x-program"], "amount": 1000},
        headers={"Idempotency-Key": key},
    )
    assert said.status_code == 201, said.text
    return said.json()["id"]


async def test_it_comes_back_as_it_was_at_an_instant(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    fleet = Fleet(tmp_path_factory.mktemp("backup"))
    fleet.home.path.chmod(0o755)
    try:
        fleet.up("--replicas", "0")
        async with fleet.http() as http:
            await sell(http, "first")
            said = fleet.florin("backup", "--json")
            assert said.returncode == 0, said.stderr
            before = await sell(http, "before")
            await asyncio.sleep(1.2)
            at = datetime.now(UTC)
            await asyncio.sleep(1.2)
            after = await sell(http, "after")
            running = fleet.florin("restore", "--at", at.isoformat())
            assert running.returncode != 0
            assert "florin down" in running.stderr
        assert fleet.florin("down").returncode == 0
        for wrong in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "yesterday"):
            assert fleet.florin("restore", "--at", wrong).returncode == 1
        said = fleet.florin("restore", "--at", at.isoformat())
        assert said.returncode == 0, said.stderr
        fleet.up("--replicas", "0")
        async with fleet.http() as http:
            assert (await http.get(f"/cards/{before}")).status_code == 200
            assert (await http.get(f"/cards/{after}")).status_code == 404
            proof = (await http.get("/ledger/proof")).json()
            assert proof["balanced"] is True
            await sell(http, "later")
    finally:
        fleet.florin("down")


def test_a_backup_needs_a_running_database(tmp_path: Path) -> None:
    said = Fleet(tmp_path).florin("backup")
    assert said.returncode == 1
    assert "has no database of its own" in said.stderr
