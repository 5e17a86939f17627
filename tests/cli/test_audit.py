"""Audit: the command that verifies the seals of the fleet's and the merchants' records."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit.postgres.database import Database
from florin.ops.fleet import audit_log as fleet_log
from florin.ops.fleet import audit_seals
from florin.ops.fleet.home import Home
from tests.conftest import Urls
from tests.ledger import calls


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    for n in range(3):
        fleet_log.append_operation(made, "alice", f"florin scale api={n}", "done")
    audit_seals.seal_operations(made)
    return made


def verify(home: Home, url: str) -> tuple[int, dict[str, Any], str]:
    said = subprocess.run(
        [sys.executable, "-P", "-m", "florin", "audit", "verify", "--json"],
        env=os.environ | {"FLORIN_HOME": str(home.path), "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return said.returncode, json.loads(said.stdout or "{}"), said.stderr


async def test_both_records_are_verified_and_a_change_is_an_exit_code(
    urls: Urls, home: Home, database: Database, owner: Any, app: Any
) -> None:
    merchant = await calls.make_merchant(owner)
    async with database.transaction() as tx:
        by = AuditActor(merchant=merchant, actor="mem_1")
        await audit_log.record_audit(tx, by, "member.changed", "mem_2", after={"role": "owner"})
    await app.fetchrow("select * from seal_audit(100)")
    noted = await audit_seals.note_checkpoint(home, urls.app)
    assert noted is not None
    assert await audit_seals.note_checkpoint(home, urls.app) is None
    assert audit_seals.noted_checkpoints(home) == {noted.number: noted.hash}

    code, document, _ = verify(home, urls.app)
    assert (code, document["intact"]) == (0, True)
    assert document["fleet"]["lines"] == 3
    assert document["merchants"]["hash"] == noted.hash

    await owner.execute(
        "alter table florin.audit disable trigger user; update florin.audit set actor = 'mem_9';"
        " alter table florin.audit enable trigger user"
    )
    log = fleet_log.audit_file(home)
    log.write_bytes(log.read_bytes().replace(b"api=1", b"api=9"))
    code, document, said = verify(home, urls.app)
    assert (code, document["intact"]) == (1, False)
    assert document["fleet"]["findings"] == ["line 2 was changed"]
    assert document["merchants"]["findings"][0].endswith("was changed")
    assert "audit-not-intact.md" in said

    code, _, said = verify(home, "postgresql://florin_app@127.0.0.1:1/none")
    assert code == 1
    assert "The database cannot be reached" in said
