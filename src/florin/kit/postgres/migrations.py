"""Migrations: upgrade a database to the schema of this release.

Numbered files run once, each in its own transaction. An `expand` file only adds, which is checked
(expand_check.py), so that running releases do not notice. A `contract` file removes what an earlier
release used; it waits until no such process runs. A file whose name ends in `_concurrently` runs
statement by statement, and again after a failure. Then the functions of the release are installed
next to those of others (function_sets.py), and the grants of all of them are applied. One advisory
lock keeps two releases from migrating at the same time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from florin.kit.postgres import app_role, concurrent_indexes, expand_check, function_sets
from florin.kit.postgres.database import Connection, PoolLimits, open_connection
from florin.kit.postgres.short_locks import MigrationFailed, in_short_locks
from florin.kit.postgres.sql_release import (
    PACKAGED,
    SqlRelease,
    file_checksum,
    is_contract,
    migration_number,
)

UNNAMED = "unknown"  # a release without FLORIN_RELEASE
_LOCK = 0xF10C_0001
_FIRST_UNRELEASED = "0001_expand_core.sql"  # of the schema before 0.1.0
_AFTER = re.compile(r"^-- after (\d{4})$", re.MULTILINE)
_OLDER = """
select format('%s runs %s', name, release) from florin.live_process
where schema_number < $1 order by name limit 1
"""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What `migrate` would do: the files in order, and the set of functions unless it exists.

    `waiting`: contract files that must not run yet, each with its reason.
    """

    files: tuple[Path, ...]
    function_set: str | None
    waiting: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def steps(self) -> list[str]:
        names = [path.name for path in self.files]
        return names if self.function_set is None else [*names, self.function_set]


async def plan_migrations(connection: Connection, sql: SqlRelease = PACKAGED) -> MigrationPlan:
    """Plan; changes nothing. Raises MigrationFailed for a database of another history."""
    done = await _read_applied(connection)
    files: list[Path] = []
    waiting: dict[str, str] = {}
    for path in sql.migrations:
        if path.name not in done:
            why = await _why_it_waits(connection, path, upgrades=bool(done))
            if why is None:
                files.append(path)
            else:
                waiting[path.name] = why
        elif done[path.name] != file_checksum(path):
            msg = (
                f"{path.name} was changed after it was applied; to keep the data, go on with the"
                " version that applied it; to start afresh, use another --home or an empty"
                " database; a change of a released schema is a new migration"
            )
            raise MigrationFailed(msg)
    files.sort(key=is_contract)  # stable: an expand file never needs a contract file
    await _refuse_too_old(connection, sql, done)
    installed = await function_sets.is_installed(connection, sql.set_name)
    return MigrationPlan(tuple(files), None if installed else sql.set_name, waiting)


async def migrate(
    connection: Connection,
    *,
    role: str | None,
    release: str = UNNAMED,
    sql: SqlRelease = PACKAGED,
) -> MigrationPlan:
    """Carry out the plan and return it. `role` gets the grants of the application."""
    await connection.execute("select pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "create schema if not exists florin;"
            "create table if not exists florin.migration ("
            " name text primary key, checksum text not null,"
            " applied_at timestamptz not null default clock_timestamp())"
        )
        plan = await plan_migrations(connection, sql)
        for path in plan.files:
            if not is_contract(path):
                await _apply(connection, path)
        if plan.function_set is not None:
            await function_sets.install_function_set(connection, sql)
        await function_sets.record_release(connection, release, sql)
        for path in plan.files:
            if is_contract(path):
                await _apply(connection, path)
        if role is not None:
            await function_sets.apply_grants(connection, role)
        return plan
    finally:
        await connection.execute("select pg_advisory_unlock($1)", _LOCK)


async def run_migrations(
    *,
    owner_url: str,
    app_url: str | None,
    only_plan: bool,
    release: str = UNNAMED,
    sql: SqlRelease = PACKAGED,
) -> MigrationPlan:
    """Connect as the owner and migrate, or only plan. Raises MigrationFailed."""
    connection = await open_connection(PoolLimits(owner_url).dsn, name="florin migrate")
    try:
        if only_plan:
            return await plan_migrations(connection, sql)
        role = await app_role.prepare_role(connection, app_url)
        return await migrate(connection, role=role, release=release, sql=sql)
    finally:
        await connection.close()


async def run_prune(
    *, owner_url: str, app_url: str | None, keep: list[str] | None = None
) -> list[str]:
    """Remove the sets of functions that neither a process nor a kept release uses."""
    connection = await open_connection(PoolLimits(owner_url).dsn, name="florin migrate")
    try:
        role, _ = app_role.role_of(app_url)
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        return await function_sets.prune_function_sets(connection, keep=keep, role=role)
    finally:
        await connection.close()


async def _read_applied(connection: Connection) -> dict[str, str]:
    if await connection.fetchval("select to_regclass('florin.migration')") is None:
        return {}
    rows = await connection.fetch("select name, checksum from florin.migration")
    done = {row["name"]: row["checksum"] for row in rows}
    if _FIRST_UNRELEASED in done:
        msg = (
            "it was made by a version before 0.1.0, whose schema cannot be upgraded; to keep its"
            " data, go on with the checkout that made it; to start afresh, use another --home or an"
            " empty database"
        )
        raise MigrationFailed(msg)
    return done


async def _refuse_too_old(connection: Connection, sql: SqlRelease, done: Mapping[str, str]) -> None:
    """Raises MigrationFailed for a release that needs what a contract migration removed."""
    if not done:
        return
    row = await connection.fetchrow(
        "select name, (to_jsonb(m) ->> 'needs')::integer as needs from florin.migration m"
        " where (to_jsonb(m) ->> 'needs')::integer > $1 order by 2 desc limit 1",
        sql.schema_number,
    )
    if row is not None:
        msg = (
            f"{row['name']} removed what this release uses; deploy a release that knows migration"
            f" {row['needs']:04} (this one ends at {sql.schema_number:04})"
        )
        raise MigrationFailed(msg)


async def _why_it_waits(connection: Connection, path: Path, *, upgrades: bool) -> str | None:
    if not is_contract(path) or not upgrades:
        return None
    if await connection.fetchval("select to_regclass('florin.process')") is None:
        return "processes of a release before 0.2.0 may run, and they are not registered"
    running = await connection.fetchval(_OLDER, _needs(path))
    return None if running is None else f"{running}, which still uses what it removes"


def _needs(path: Path) -> int:
    """Return the migration that every running release must know. Raises MigrationFailed."""
    found = _AFTER.search(_text(path))
    if found is None or int(found[1]) >= migration_number(path):
        msg = (
            f"{path.name} must name, in a line '-- after NNNN', the earlier migration whose release"
            " no longer uses what it removes"
        )
        raise MigrationFailed(msg)
    return int(found[1])


async def _apply(connection: Connection, path: Path) -> None:
    if path.stem.endswith("_concurrently"):
        await concurrent_indexes.build_indexes(connection, path.name, _text(path))
        await _record(connection, path)
        return
    text = _text(path)

    async def change() -> None:
        await connection.execute("set local search_path = florin")
        if is_contract(path):
            await _contract(connection, path)
            return
        before = await expand_check.read_catalog(connection)
        await connection.execute(text)
        after = await expand_check.read_catalog(connection)
        expand_check.require_expand(path.name, text, before, after)
        await _record(connection, path)

    await in_short_locks(connection, path.name, change)


async def _contract(connection: Connection, path: Path) -> None:
    """Remove what no running release uses, and the sets of releases that cannot run any more."""
    await connection.execute("select pg_advisory_xact_lock($1)", function_sets.REGISTRY_LOCK)
    waits = await _why_it_waits(
        connection, path, upgrades=True
    )  # one may have started since the plan
    if waits is not None:
        msg = f"{path.name} was not applied: {waits}"
        raise MigrationFailed(msg)
    needs = _needs(path)
    rows = await connection.fetch(
        "select name from florin.function_set where schema_number < $1", needs
    )
    for row in rows:
        await function_sets.drop_function_set(connection, row["name"])
    await connection.execute(_text(path))
    await _record(connection, path, needs=needs)


async def _record(connection: Connection, path: Path, *, needs: int | None = None) -> None:
    await connection.execute(
        "insert into florin.migration (name, checksum) values ($1, $2)",
        path.name,
        file_checksum(path),
    )
    if needs is not None:
        await connection.execute(
            "update florin.migration set needs = $2 where name = $1", path.name, needs
        )


def _text(path: Path) -> str:
    return path.read_text("utf-8")
