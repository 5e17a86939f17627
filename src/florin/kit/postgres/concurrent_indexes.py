"""Concurrent indexes: build the indexes of a migration while the ledger is in use."""

import re

from florin.kit.postgres.database import Connection
from florin.kit.postgres.short_locks import MigrationFailed

_INDEX = re.compile(
    r"^create\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+(\w+)\s", re.IGNORECASE
)
_INVALID = """
select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = 'florin'::regnamespace and c.relname = $1 and not i.indisvalid
"""


async def build_indexes(connection: Connection, name: str, text: str) -> None:
    """Run each statement of a file by itself: indexes are built while the ledger is in use.

    It waits for older transactions without keeping anyone waiting, so it has no lock timeout. An
    interrupted build leaves an invalid index; it is dropped and built again.
    """
    await connection.execute("set search_path = florin; set lock_timeout = '0'")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for statement in filter(None, map(str.strip, "\n".join(lines).split(";"))):
        found = _INDEX.match(statement)
        if found is None:
            msg = (
                f"{name} may only have CREATE INDEX CONCURRENTLY IF NOT EXISTS name …; found:"
                f" {' '.join(statement.split())[:60]}"
            )
            raise MigrationFailed(msg)
        if await connection.fetchval(_INVALID, found[1].lower()):
            await connection.execute(f"drop index concurrently {found[1]}")
        await connection.execute(statement)
    await connection.execute("reset search_path; reset lock_timeout")
