"""Audit sealing: the supervisor's task, with a real database."""

import asyncio
from pathlib import Path
from typing import Any

from florin.identity import audit_log as merchants_log
from florin.identity.audit_log import AuditActor
from florin.kit.postgres.database import Database
from florin.ops.fleet import audit_log, audit_seals
from florin.ops.fleet.home import Home
from florin.ops.lifecycle.audit_sealing import seal_audit
from tests.conftest import Urls
from tests.ledger import calls
from tests.support.waiting import until


async def test_new_lines_are_sealed_and_the_checkpoint_is_noted(
    urls: Urls, database: Database, owner: Any, app: Any, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    home.make()
    merchant = await calls.make_merchant(owner)
    async with database.transaction() as tx:
        by = AuditActor(merchant=merchant, actor="mem_1")
        await merchants_log.record_audit(tx, by, "member.changed", "mem_2", after={"role": "owner"})
    sealed = await app.fetchrow("select * from seal_audit(100)")

    sealing = asyncio.create_task(seal_audit(home, urls.app))
    try:
        await until(lambda: audit_seals.noted_checkpoints(home), within_s=30)
        assert audit_seals.noted_checkpoints(home) == {sealed["checkpoint"]: sealed["hash"].hex()}
        for n in range(2):  # one line after another: the task goes on
            audit_log.append_operation(home, "alice", f"florin scale api={n}", "done")
            await until(lambda: audit_seals.verify_operations(home).unsealed == 0, within_s=30)
    finally:
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)
    found = audit_seals.verify_operations(home)
    assert (found.lines, found.findings) == (2, [])


async def test_a_database_that_cannot_be_reached_does_not_stop_the_sealing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    sealing = asyncio.create_task(seal_audit(home, "postgresql://florin_app@127.0.0.1:1/none"))
    try:
        for n in range(2):
            audit_log.append_operation(home, "alice", f"florin scale api={n}", "done")
            await until(lambda: audit_seals.verify_operations(home).unsealed == 0, within_s=30)
        assert not sealing.done()
    finally:
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)
    assert audit_seals.noted_checkpoints(home) == {}
