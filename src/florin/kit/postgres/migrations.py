"""Migrations: upgrade a database to the schema of this release.

Numbered files run once, in order, each in its own transaction; those whose name ends in
`_concurrently` run statement by statement, and again after a failure. Routines (the `.sql` files
next to their modules) are created again when their text changed; grants are applied every time.
One advisory lock keeps two releases from migrating at the same time. `lock_timeout` keeps postings
from queueing behind a migration that waits for a lock.
"""

import asyncio
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import asyncpg

from florin.kit.postgres.database import Connection, PoolLimits, open_connection
from florin.kit.settings import InvalidSettings, read_variable
from florin.kit.urls import split_url

_LOCK = 0xF10C_0001
_ATTEMPTS = 20
_FIRST_UNRELEASED = "0001_expand_core.sql"  # of the schema before 0.1.0
APPLICATION = "florin_app"  # created if the only URL is that of the owner
_ROUTINES = (
    "ledger/clock.sql",
    "ledger/idempotency_keys.sql",
    "ledger/quotas.sql",
    "identity/exceeded_quota.sql",
    "ledger/post.sql",
    "ledger/issue.sql",
    "ledger/reset_pin.sql",
    "ledger/expire.sql",
    "ledger/analyze.sql",
    "kit/postgres/idempotency.sql",
    "kit/queue/queue.sql",
    "cards/jobs/finish_job.sql",
)


_INVALID = """
select format('%I.%I', n.nspname, c.relname) as name from pg_index i
join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'florin' and not i.indisvalid
"""


class MigrationFailed(Exception):
    """The message for the operator, in one sentence."""


def migration_files() -> list[Path]:
    folder = Path(str(files("florin") / "migrations"))
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def routine_files() -> list[Path]:
    root = Path(str(files("florin")))
    return [root / name for name in _ROUTINES]


async def plan_migrations(connection: Connection) -> list[Path]:
    """Return the files that would run, in order."""
    done: dict[str, str] = {}
    if await connection.fetchval("select to_regclass('florin.migration')") is not None:
        rows = await connection.fetch("select name, checksum from florin.migration")
        done = {row["name"]: row["checksum"] for row in rows}
    _refuse_unreleased(done)
    steps: list[Path] = []
    for path in migration_files():
        if path.name not in done:
            steps.append(path)
        elif done[path.name] != _checksum(path):
            msg = (
                f"{path.name} was changed after it was applied; to keep the data, go on with the"
                " version that applied it; to start afresh, use another --home or an empty"
                " database; a change of a released schema is a new migration"
            )
            raise MigrationFailed(msg)
    routines = [path for path in routine_files() if done.get(path.name) != _checksum(path)]
    return steps + routines


def _refuse_unreleased(done: Mapping[str, str]) -> None:
    """Raises MigrationFailed for a schema from before the first release: its files are gone."""
    if _FIRST_UNRELEASED in done:
        msg = (
            "it was made by a version before 0.1.0, whose schema cannot be upgraded; to keep its"
            " data, go on with the checkout that made it; to start afresh, use another --home or an"
            " empty database"
        )
        raise MigrationFailed(msg)


async def migrate(connection: Connection, *, role: str | None) -> list[str]:
    """Apply the missing files; return their names."""
    await connection.execute("select pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "create schema if not exists florin;"
            "create table if not exists florin.migration ("
            " name text primary key, checksum text not null,"
            " applied_at timestamptz not null default clock_timestamp())"
        )
        steps = await plan_migrations(connection)
        for path in steps:
            await _apply(connection, path)
        if role is not None:
            async with connection.transaction():
                await connection.execute("set local search_path = florin")
                await connection.execute(_grants(role))
        return [path.name for path in steps]
    finally:
        await connection.execute("select pg_advisory_unlock($1)", _LOCK)


async def ensure_role(connection: Connection, role: str, password: str | None) -> None:
    """Create the application's role if it is missing. Raises MigrationFailed without the right."""
    if await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
        return
    may = await connection.fetchval(
        "select rolcreaterole or rolsuper from pg_roles where rolname = current_user"
    )
    if not may:
        msg = (
            f"the role {role} of DATABASE_URL does not exist and the owner may not create it;"
            f" create it (CREATE ROLE {role} LOGIN PASSWORD '…') and run florin migrate again"
        )
        raise MigrationFailed(msg)
    statement = await connection.fetchval(
        "select format('create role %I login password %L', $1::text, $2::text)",
        role,
        password or secrets.token_urlsafe(24),
    )
    await connection.execute(statement)


async def run_migrations(*, owner_url: str, app_url: str | None, only_plan: bool) -> list[str]:
    connection = await _connect(owner_url)
    try:
        if only_plan:
            return [path.name for path in await plan_migrations(connection)]
        role: str | None = None
        if app_url is not None:
            parts = split_url(app_url)
            role = unquote(parts.username or "")
            me = await connection.fetchval("select current_user")
            if role and role != me:
                await ensure_role(connection, role, unquote(parts.password or "") or None)
            else:
                role = await _second_role(connection, str(me))
        return await migrate(connection, role=role)
    finally:
        await connection.close()


async def _second_role(connection: Connection, me: str) -> str | None:
    """The application's role when the only URL is the owner's: created if the owner may.

    It gets the application's grants; a message with the remaining steps is printed each time.
    """
    if me == APPLICATION:
        return None
    role = None
    try:
        await ensure_role(connection, APPLICATION, None)
    except MigrationFailed:
        step = f"create another role (CREATE ROLE {APPLICATION} LOGIN PASSWORD '…')"
    else:
        role = APPLICATION
        step = f"set the password of {role} (ALTER ROLE {role} PASSWORD '…')"
    print(
        f"The application still uses the role that owns the ledger, {me}: {step}, then use it in"
        f" DATABASE_URL and {me} in DATABASE_URL_OWNER.",
        file=sys.stderr,
    )
    return role


async def _connect(url: str) -> Connection:
    return await open_connection(PoolLimits(url).dsn, name="florin migrate")


async def _apply_concurrently(connection: Connection, path: Path) -> None:
    """Run each statement of a file by itself: indexes are built while the ledger is in use.

    An interrupted build leaves an invalid index; it is dropped and built again.
    """
    await connection.execute("set search_path = florin; set lock_timeout = '0'")
    for row in await connection.fetch(_INVALID):
        await connection.execute(f"drop index concurrently {row['name']}")
    lines = [line for line in _text(path).splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            await connection.execute(statement)
    await connection.execute("reset search_path; reset lock_timeout")
    await _record(connection, path)


async def _record(connection: Connection, path: Path) -> None:
    await connection.execute(
        "insert into florin.migration (name, checksum) values ($1, $2)"
        " on conflict (name) do update"
        " set checksum = excluded.checksum, applied_at = clock_timestamp()",
        path.name,
        _checksum(path),
    )


async def _apply(connection: Connection, path: Path) -> None:
    if path.stem.endswith("_concurrently"):
        await _apply_concurrently(connection, path)
        return
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(
                    "set local search_path = florin; set local lock_timeout = '2s'"
                )
                await connection.execute(_text(path))
                await _record(connection, path)
        except asyncpg.LockNotAvailableError:
            if attempt == _ATTEMPTS:
                msg = (
                    f"{path.name} could not get its lock in {_ATTEMPTS} attempts and changed"
                    " nothing; run florin migrate again"
                )
                raise MigrationFailed(msg) from None
            await asyncio.sleep(0.5)
        else:
            return


def _grants(role: str) -> str:
    quoted = '"' + role.replace('"', '""') + '"'
    grants = Path(str(files("florin") / "migrations" / "grants.sql"))
    return _text(grants).replace("{role}", quoted)


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(*, only_plan: bool = False, as_json: bool = False) -> int:
    """Serve `florin migrate`; return the exit code."""
    try:
        app_url = read_variable("DATABASE_URL_PRIMARY") or read_variable("DATABASE_URL")
        owner_url = read_variable("DATABASE_URL_OWNER") or app_url
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    if owner_url is None:
        print("Set DATABASE_URL_OWNER (or DATABASE_URL) to the database.", file=sys.stderr)
        return 2
    try:
        names = asyncio.run(
            run_migrations(owner_url=owner_url, app_url=app_url, only_plan=only_plan)
        )
    except (MigrationFailed, OSError, asyncpg.PostgresError, ValueError) as error:
        print(f"The database was not migrated: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"plan" if only_plan else "applied": names}))
    elif names:
        verb = "Would apply" if only_plan else "Applied"
        print(f"{verb}: {', '.join(names)}.")
    else:
        print("The database is up to date.")
    return 0
