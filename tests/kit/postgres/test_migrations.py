"""Migrations: a schema from before the first release is refused in one sentence."""

from typing import Any

import pytest

from florin.kit.postgres import migrations


async def test_a_schema_from_before_the_first_release_is_refused(owner: Any) -> None:
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(
            "insert into florin.migration (name, checksum) values ('0001_expand_core.sql', 'x')"
        )
        with pytest.raises(migrations.MigrationFailed, match=r"keep its data.*start afresh"):
            await migrations.plan_migrations(owner)
    finally:
        await transaction.rollback()


async def test_a_current_database_has_no_pending_migrations(owner: Any) -> None:
    assert await migrations.plan_migrations(owner) == []


def test_every_sql_file_has_a_unique_name() -> None:
    """The database records a file by its name without its folder."""
    names = [path.name for path in (*migrations.migration_files(), *migrations.routine_files())]
    assert len(names) == len(set(names)) > 10
