"""Restore test: restore the last backup and all of the log into a temporary server, to prove it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from florin.ops.backups import base_backup
from florin.ops.backups.restore import (
    copied_backup,
    newest_segment_in,
    recovered_server,
    require_complete_recovery,
)
from florin.ops.postgres import server as postgres
from florin.ops.postgres import wal_archive
from florin.ops.postgres.connection import open_session
from florin.ops.postgres.server import Postgres
from florin.ops.system import os_user, ports
from florin.ops.system.console import OperatorError

_ANSWERS_WITHIN_S = 60
# The commit time of the last replayed transaction.
_REACHES = "select pg_last_xact_replay_timestamp()"

Prove = Callable[[str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class RestoreTest:
    """`base` is the instant of the backup, `reaches` the last restored commit."""

    base: datetime
    reaches: datetime
    behind_s: float  # from `reaches` to the start of the test
    proof: dict[str, Any]


def test_restore(saved: Path, server: Postgres, prove: Prove) -> RestoreTest:
    """Restore, and call `prove` with the database's URL. Leaves no files. Raises OperatorError."""
    base = base_backup.latest_backup(base_backup.list_backups(saved, server.account), None)
    os_user.make_private_dir(server.data.parent, server.account)
    made = server.data.with_name(f"{server.data.name}.rehearsed")
    scratch = replace(server, data=made, port=ports.free_port(), name="rehearsal")
    began, newest = datetime.now(UTC), newest_segment_in(wal_archive.archive_dir(saved))
    with copied_backup(base, made, scratch):
        with recovered_server([wal_archive.archive_dir(saved)], scratch, made, None, light=True):
            reaches, found = asyncio.run(_look(scratch, prove))
        require_complete_recovery(scratch, made, newest)
    reaches = reaches or base.ended  # no writes since the backup
    behind_s = round(max(0.0, (began - reaches).total_seconds()), 1)
    return RestoreTest(base=base.ended, reaches=reaches, behind_s=behind_s, proof=found)


async def _look(server: Postgres, prove: Prove) -> tuple[datetime | None, dict[str, Any]]:
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not await server.ready():
        if time.monotonic() > deadline:
            raise OperatorError("The restored database does not answer.")
        await asyncio.sleep(0.1)
    async with open_session(server.url(postgres.SUPERUSER)) as connection:
        reaches = await connection.fetchval(_REACHES)
    return reaches, await prove(server.url(postgres.APP))
