"""Function sets: install the SQL functions of a release, and remove those that nothing uses.

A set is a schema with all functions of a release, made in one transaction and never changed
afterwards. The grants of the application's role are the union of those of all sets: a release that
needs less takes nothing from one that still runs.
"""

import re
from collections.abc import Collection
from datetime import datetime

import msgspec

from florin.kit.postgres import expand_check
from florin.kit.postgres.database import Connection
from florin.kit.postgres.short_locks import MigrationFailed, in_short_locks
from florin.kit.postgres.sql_release import PACKAGED, SqlRelease

USED_FOR_S = 600  # a process that did not renew its row for so long runs no more: live_process
KEPT_RELEASES = 5  # by default, the latest ones
REGISTRY_LOCK = 0xF10C_0002  # shared by a process that registers, exclusive to remove sets

_TABLE_GRANTS = """
revoke all on schema florin from public;
grant usage on schema florin to {role};
revoke all on all tables in schema florin from {role};
revoke all on all sequences in schema florin from {role};
revoke all on all functions in schema florin from public;
"""
_SET_GRANTS = """
revoke all on schema {set} from public;
revoke all on all functions in schema {set} from {role};
grant usage on schema {set} to {role};
"""
_LIST = """
select s.name, s.installed_at,
  array(select r.release from florin.function_set_release r where r.function_set = s.name
    order by r.migrated_at) as releases,
  array(select p.name from florin.live_process p where p.function_set = s.name
    order by p.name) as processes
from florin.function_set s order by s.installed_at
"""
_UNUSED = """
select s.name from florin.function_set s
where not exists (select from florin.function_set_release r where r.function_set = s.name)
  and not exists (select from florin.live_process p where p.function_set = s.name)
  and s.name <> $1
"""
_FORGET_RELEASES = """
delete from florin.function_set_release r
where not r.release = any (coalesce($1::text[], array(
    select z.release from florin.function_set_release z order by z.migrated_at desc limit $2)))
  and not exists (select from florin.live_process p where p.release = r.release)
"""


class FunctionSet(msgspec.Struct, frozen=True, kw_only=True):
    """One set: its schema, the releases that were migrated to it, the processes that call it."""

    name: str
    installed_at: datetime
    releases: list[str]
    processes: list[str]


async def is_installed(connection: Connection, name: str) -> bool:
    if not await _knows_sets(connection):
        return False
    found = await connection.fetchval("select 1 from florin.function_set where name = $1", name)
    return found is not None


async def install_function_set(connection: Connection, sql: SqlRelease) -> None:
    """Make the set of the release in one transaction. Raises MigrationFailed."""
    _require_only_grants(sql.grants)
    name = sql.set_name

    async def make() -> None:
        before = await expand_check.read_catalog(connection)
        await connection.execute(
            f"create schema {name}; set local search_path = {name}, florin, pg_temp"
        )
        for path in sql.functions:
            await connection.execute(path.read_text("utf-8"))
        await connection.execute(
            f"revoke all on all functions in schema {name} from public;"
            " set local search_path = florin"
        )
        await connection.execute(
            "insert into florin.function_set (name, grants, schema_number) values ($1, $2, $3)",
            *(name, sql.grants, sql.schema_number),
        )
        after = await expand_check.read_catalog(connection)
        changes = expand_check.catalog_changes(before, after)
        if changes:
            msg = (
                "the functions of this release change what other releases use"
                f" ({expand_check.list_changes(changes)}); nothing was changed: a file of functions"
                " may only create functions"
            )
            raise MigrationFailed(msg)

    await in_short_locks(connection, f"the installation of {name}", make)


def _require_only_grants(text: str) -> None:
    """Raises MigrationFailed: another statement would act on the grants of other releases."""
    for statement in _statements(text):
        if not re.match(r"grant\s", statement, re.IGNORECASE):
            msg = f"grants.sql may only have GRANT statements, not: {' '.join(statement.split())}"
            raise MigrationFailed(msg)


def _statements(text: str) -> list[str]:
    plain = re.sub(r"--[^\n]*", "", text)
    return [statement.strip() for statement in plain.split(";") if statement.strip()]


async def apply_grants(connection: Connection, role: str) -> None:
    """Give the application's role what the installed sets grant together, and nothing else.

    The owner's own role keeps all its rights.
    """
    if role == await connection.fetchval("select current_user"):
        return
    quoted = '"' + role.replace('"', '""') + '"'

    async def apply() -> None:
        await connection.execute("set local search_path = florin")
        await connection.execute(_TABLE_GRANTS.format(role=quoted))
        rows = await connection.fetch(
            "select name, grants from florin.function_set order by installed_at"
        )
        for row in rows:
            await connection.execute(_SET_GRANTS.format(set=row["name"], role=quoted))
            for statement in _statements(row["grants"]):
                # A function's name must mean the set's: 0.1.0 has functions among the tables.
                of_function = statement.lower().startswith("grant execute on function")
                tables = "" if of_function else "florin, "
                await connection.execute(f"set local search_path = {row['name']}, {tables}pg_temp")
                await connection.execute(statement.replace("{role}", quoted))

    await in_short_locks(connection, "the change of grants", apply)


async def record_release(connection: Connection, release: str, sql: SqlRelease) -> None:
    """Record that the release calls its set; the latest migration that its code knows, too."""
    async with connection.transaction():
        await connection.execute(
            "insert into florin.function_set_release (release, function_set) values ($1, $2)"
            " on conflict (release) do update"
            " set function_set = excluded.function_set, migrated_at = clock_timestamp()",
            *(release, sql.set_name),
        )
        await connection.execute(
            "update florin.function_set set schema_number = greatest(schema_number, $2)"
            " where name = $1",
            *(sql.set_name, sql.schema_number),
        )


async def list_function_sets(connection: Connection) -> list[FunctionSet]:
    """Return the installed sets, the oldest first; none if the schema is older than sets."""
    if not await _knows_sets(connection):
        return []
    return [msgspec.convert(dict(row), FunctionSet) for row in await connection.fetch(_LIST)]


async def use_installed_functions(connection: Connection) -> None:
    """Let the connection of an operator's tool call this release's set, else the latest one.

    The code of a tool need not be that of a release that was ever deployed.
    """
    if not await _knows_sets(connection):
        return
    await connection.execute(
        "select set_config('search_path', s.name || ', florin', false) from ("
        " select name from florin.function_set order by name = $1 desc, installed_at desc limit 1"
        ") s",
        PACKAGED.set_name,
    )


async def prune_function_sets(
    connection: Connection, *, keep: Collection[str] | None = None, role: str | None = None
) -> list[str]:
    """Remove the sets that no kept release and no running process uses; return their names.

    `keep`: the releases to keep, by default the latest KEPT_RELEASES; this release's set stays.
    """
    removed: list[str] = []
    if not await _knows_sets(connection):
        return removed

    async def remove() -> None:
        removed.clear()
        # A process that registers now either is seen below or finds its set gone.
        await connection.execute("select pg_advisory_xact_lock($1)", REGISTRY_LOCK)
        await connection.execute(
            _FORGET_RELEASES,
            *(None if keep is None else list(keep), KEPT_RELEASES),
        )
        for row in await connection.fetch(_UNUSED, PACKAGED.set_name):
            await drop_function_set(connection, row["name"])
            removed.append(row["name"])

    await in_short_locks(connection, "the removal of old functions", remove)
    if removed and role is not None:
        await apply_grants(connection, role)
    return removed


async def drop_function_set(connection: Connection, name: str) -> None:
    """Drop a set within the caller's transaction."""
    await connection.execute(f"drop schema {name} cascade")
    await connection.execute("delete from florin.function_set where name = $1", name)


async def _knows_sets(connection: Connection) -> bool:
    return await connection.fetchval("select to_regclass('florin.function_set') is not null")
