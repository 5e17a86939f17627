"""SQL releases for tests: copies of the package's SQL files with changes."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from florin.kit.postgres.database import open_connection
from florin.kit.postgres.sql_release import PACKAGED, SqlRelease

Edit = tuple[str, str, str]  # file, old text, new text


def sql_release(into: Path, *edits: Edit, **migrations: str) -> SqlRelease:
    """Copy the SQL files, replace texts, and add migrations: `expand_name="create …"`.

    The first added one has the number after the package's latest.
    """
    for path in PACKAGED.root.rglob("*.sql"):
        target = into / path.relative_to(PACKAGED.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name, old, new in edits:
        text = (into / name).read_text("utf-8")
        assert old in text, f"{name} no longer has: {old}"
        (into / name).write_text(text.replace(old, new), "utf-8")
    for number, (name, text) in enumerate(migrations.items(), PACKAGED.schema_number + 1):
        (into / "migrations" / f"{number:04}_{name}.sql").write_text(text, "utf-8")
    return SqlRelease(into)


@asynccontextmanager
async def session_of(url: str, sql: SqlRelease) -> AsyncGenerator[Any]:
    """A connection as a process of that release has it."""
    connection = await open_connection(url, name="tests")
    try:
        await connection.execute(f"set search_path = {sql.search_path}")
        yield connection
    finally:
        await connection.close()
