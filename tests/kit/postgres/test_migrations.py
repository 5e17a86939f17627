"""Migrations: expand before contract, with short locks, resumed after a failure."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from florin.kit.postgres import migrations, short_locks
from florin.kit.postgres.database import BROKEN, open_connection
from florin.kit.postgres.migrations import MigrationPlan
from florin.kit.postgres.short_locks import MigrationFailed
from florin.kit.postgres.sql_release import PACKAGED, SqlRelease, migration_number
from tests.conftest import Urls
from tests.support import postgres_server
from tests.support.sql_releases import sql_release
from tests.support.waiting import until

NEXT = PACKAGED.schema_number + 1
HARMLESS = "create table extra (id integer); alter table card add column note text;"
INDEXES = (
    "-- Two of them;\ncreate index concurrently if not exists first_one on card (id);\n"
    "create index concurrently if not exists second_one on account (id);\n"
)
REPLACES_TRIGGER = """
create or replace function remember_metadata() returns trigger language plpgsql as
'begin return null; end'"""
TAKES_ONE_CENT = """
create function grabs() returns trigger language plpgsql as
'begin new.balance = new.balance - 1; return new; end';
create trigger grabs before update on account for each row execute function grabs()"""
REPLACES_FUNCTION = f"""
create or replace function {PACKAGED.set_name}.begin_money() returns void language plpgsql as
'begin end'"""


@pytest.fixture
async def fresh(template: postgres_server.Server) -> Urls:
    """A migrated database for one test."""
    name = f"migrations_{uuid.uuid4().hex[:8]}"
    await postgres_server.make_database(template, name)
    roles = ("florin_app", "florin_owner", "postgres")
    return Urls(*(template.url(role, name) for role in roles))


async def migrate(urls: Urls, sql: SqlRelease, *, plan: bool = False) -> MigrationPlan:
    return await migrations.run_migrations(
        owner_url=urls.owner, app_url=urls.app, only_plan=plan, release="next", sql=sql
    )


async def test_a_schema_from_before_the_first_release_is_refused(owner: Any) -> None:
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(
            "insert into florin.migration (name, checksum) values ('0001_expand_core.sql', 'x')"
        )
        with pytest.raises(MigrationFailed, match=r"keep its data.*start afresh"):
            await migrations.plan_migrations(owner)
    finally:
        await transaction.rollback()


async def test_a_current_database_has_no_pending_migrations(owner: Any) -> None:
    plan = await migrations.plan_migrations(owner)
    assert (plan.steps, plan.waiting) == ([], {})


def test_every_sql_file_has_a_unique_name() -> None:
    """A file is known to a database by its name without folder."""
    names = [path.name for path in (*PACKAGED.migrations, *PACKAGED.functions)]
    assert len(names) == len(set(names)) > 10
    numbers = [migration_number(path) for path in PACKAGED.migrations]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all("_expand_" in p.name or "_contract_" in p.name for p in PACKAGED.migrations)


async def test_the_plan_says_what_would_run_and_runs_nothing(fresh: Urls, tmp_path: Path) -> None:
    sql = sql_release(
        tmp_path, ("ledger/clock.sql", "-- The only", "-- The"), expand_extra=HARMLESS
    )
    steps = [f"{NEXT:04}_expand_extra.sql", sql.set_name]
    assert (await migrate(fresh, sql, plan=True)).steps == steps
    assert (await migrate(fresh, sql)).steps == steps
    assert (await migrate(fresh, sql, plan=True)).steps == []
    # The release before runs on the new schema: its plan has nothing to do.
    assert (await migrate(fresh, PACKAGED)).steps == []


@pytest.mark.parametrize(
    ("statement", "label"),
    [
        ("alter table card drop column last4", "column florin.card.last4"),
        ("alter table card alter column last4 type varchar(4)", "column florin.card.last4"),
        ("alter table card rename column last4 to last_four", "column florin.card.last4"),
        ("alter table card add column extra integer not null", "column florin.card.extra"),
        ("alter table card alter column sealed_code set not null", "not null florin.card"),
        ("alter table card add constraint short check (length(last4) < 4)", "constraint short on"),
        ("drop table quota_use", "table florin.quota_use"),
        ("alter table account disable trigger account_is_kept", "trigger account_is_kept on"),
        ("drop trigger account_is_kept on account", "trigger account_is_kept on"),
        (REPLACES_TRIGGER, "function florin.remember_metadata"),
        (TAKES_ONE_CENT, "trigger grabs on florin.account"),
        (REPLACES_FUNCTION, f"function {PACKAGED.set_name}.begin_money"),
        ("revoke select on card from florin_app", "table florin.card"),
        ("alter table card enable row level security", "table florin.card"),
        ("create rule none as on insert to audit do instead nothing", "rule none on florin.audit"),
    ],
)
async def test_a_change_of_what_running_releases_use_is_refused(
    urls: Urls, owner: Any, tmp_path: Path, statement: str, label: str
) -> None:
    sql = sql_release(tmp_path, expand_bad=f"{HARMLESS}\n{statement};")
    with pytest.raises(MigrationFailed, match="changes what running releases use") as refused:
        await migrate(urls, sql)
    assert label in str(refused.value)
    assert await owner.fetchval("select to_regclass('florin.extra') is null")
    assert (await migrate(urls, PACKAGED, plan=True)).steps == []


async def test_a_change_with_a_reason_is_accepted(fresh: Urls, tmp_path: Path) -> None:
    reason = "-- accepts column florin.card.last4: a longer type reads the same\n"
    change = "alter table card alter column last4 type varchar(8);"
    with pytest.raises(MigrationFailed, match=r"'-- accepts column florin\.card\.last4: …'"):
        await migrate(fresh, sql_release(tmp_path / "without", expand_longer=change))
    await migrate(fresh, sql_release(tmp_path / "with", expand_longer=reason + change))


async def test_what_is_removed_waits_for_the_processes_that_use_it(
    fresh: Urls, tmp_path: Path
) -> None:
    removes = {
        "expand_extra": HARMLESS,
        "contract_quota_use": f"-- after {NEXT:04}\ndrop table quota_use cascade;",
        "expand_later": "create table later (id integer);",
    }
    grants = ("migrations/grants.sql", "grant delete on quota_use to {role};\n", "")
    sql = sql_release(tmp_path, grants, **removes)
    contract = f"{NEXT + 1:04}_contract_quota_use.sql"
    owner = await open_connection(fresh.owner, name="tests")
    try:
        await owner.execute(
            "insert into florin.process (id, name, release, function_set, schema_number)"
            " values (gen_random_uuid(), 'api-3', 'before', $1, $2)",
            PACKAGED.set_name,
            PACKAGED.schema_number,
        )
        done = await migrate(fresh, sql)
        assert done.steps == [
            f"{NEXT:04}_expand_extra.sql", f"{NEXT + 2:04}_expand_later.sql", sql.set_name
        ]  # fmt: skip
        assert "api-3 runs before" in done.waiting[contract]
        assert await owner.fetchval("select to_regclass('florin.quota_use') is not null")
        await migrate(fresh, PACKAGED)  # a rollback is still possible

        await owner.execute("delete from florin.process")
        assert (await migrate(fresh, sql)).steps == [contract]
        assert await owner.fetchval("select to_regclass('florin.quota_use') is null")
        with pytest.raises(MigrationFailed, match=rf"{contract} removed what this release uses"):
            await migrate(fresh, PACKAGED)
        sets = await owner.fetch("select name from florin.function_set")
        assert [row["name"] for row in sets] == [sql.set_name]
    finally:
        await owner.close()


@pytest.mark.parametrize("after", ["", f"-- after {NEXT:04}\n", "-- after 9999\n"])
async def test_a_contract_names_the_release_that_no_longer_needs_it(
    urls: Urls, tmp_path: Path, after: str
) -> None:
    sql = sql_release(tmp_path, contract_extra=f"{after}drop table quota_use;")
    with pytest.raises(MigrationFailed, match="must name, in a line '-- after NNNN'"):
        await migrate(urls, sql)


async def test_a_migration_behind_a_long_select_harms_no_one(fresh: Urls, tmp_path: Path) -> None:
    sql = sql_release(tmp_path, expand_extra=HARMLESS)
    reader = await open_connection(fresh.app, name="report")
    other = await open_connection(fresh.app, name="tests")
    owner = await open_connection(fresh.superuser, name="tests")
    try:
        long = reader.transaction()
        await long.start()
        await reader.fetch("select from florin.card limit 1")
        migrating = asyncio.create_task(migrate(fresh, sql))

        async def waits() -> bool:
            return await owner.fetchval(
                "select exists (select from pg_locks where not granted"
                " and relation = 'florin.card'::regclass)"
            )

        waited, slowest = 0, 0.0
        until_then = time.monotonic() + 4
        while time.monotonic() < until_then:
            waited += await waits()
            begun = time.monotonic()
            await other.fetch("select from florin.card limit 1")
            slowest = max(slowest, time.monotonic() - begun)
        assert waited > 0
        assert not migrating.done()
        assert slowest < 1
        await long.rollback()
        assert (await migrating).steps == [f"{NEXT:04}_expand_extra.sql"]
    finally:
        for connection in (reader, other, owner):
            await connection.close()


async def test_a_migration_without_its_lock_says_who_has_it(
    fresh: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_locks, "GIVE_UP_S", 0.5)
    sql = sql_release(tmp_path, expand_extra=HARMLESS)
    reader = await open_connection(fresh.app, name="a long report")
    try:
        async with reader.transaction():
            await reader.fetch("select from florin.card limit 1")
            with pytest.raises(MigrationFailed, match=r"in use by a long report \(pid \d+\);"):
                await migrate(fresh, sql)
        assert (await migrate(fresh, sql)).steps == [f"{NEXT:04}_expand_extra.sql"]
    finally:
        await reader.close()


async def test_an_interrupted_index_is_built_again(fresh: Urls, tmp_path: Path) -> None:
    sql = sql_release(tmp_path, expand_two_concurrently=INDEXES)
    writer = await open_connection(fresh.superuser, name="writer")
    root = await open_connection(fresh.superuser, name="tests")

    async def invalid() -> list[str]:
        rows = await root.fetch("select indexrelid::regclass::text n from pg_index"
                                " where not indisvalid")  # fmt: skip
        return [row["n"] for row in rows]

    try:
        held = writer.transaction()
        await held.start()
        await writer.execute("lock table florin.account in row exclusive mode")
        migrating = asyncio.create_task(migrate(fresh, sql))

        async def half() -> bool:
            return await invalid() == ["second_one"]

        await until(half)
        await root.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'florin migrate' and datname = current_database()"
        )
        with pytest.raises(BROKEN):
            await migrating
        assert await invalid() == ["second_one"]
        assert (await migrate(fresh, sql, plan=True)).steps == [
            f"{NEXT:04}_expand_two_concurrently.sql"
        ]
        await held.rollback()
        await migrate(fresh, sql)
        assert await invalid() == []
        assert await root.fetchval("select to_regclass('florin.second_one') is not null")
        assert (await migrate(fresh, sql, plan=True)).steps == []
    finally:
        await writer.close()
        await root.close()


async def test_a_concurrent_file_only_builds_indexes(urls: Urls, tmp_path: Path) -> None:
    sql = sql_release(tmp_path, expand_x_concurrently="drop table card;")
    with pytest.raises(MigrationFailed, match="may only have CREATE INDEX CONCURRENTLY"):
        await migrate(urls, sql)
