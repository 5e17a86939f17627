"""Function sets: a release calls its own SQL functions, also while another one is installed."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from florin.kit import ids
from florin.kit.postgres import function_sets, migrations
from florin.kit.postgres.short_locks import MigrationFailed
from florin.kit.postgres.sql_release import FUNCTION_FILES, PACKAGED, SqlRelease
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.model import Op
from tests.support.sql_releases import session_of, sql_release

ONE_CENT_MORE = (
    "ledger/post.sql",
    "c_balance[c] := c_balance[c] + back;",
    "c_balance[c] := c_balance[c] + back - 1;",
)
EXPIRES_ONE_CENT_MORE = (
    "ledger/expire.sql",
    "select p_merchant, w.row, 'expire', w.currency, w.balance, 'card'",
    "select p_merchant, w.row, 'expire', w.currency, w.balance + 1, 'card'",
)
CLOCK = ("ledger/clock.sql", "-- The only clock", "-- The one clock")
GRANTS = "migrations/grants.sql"
REPLACES_TRIGGER = """
create or replace function florin.refuse_change() returns trigger language plpgsql as
'begin return null; end';
"""
ADDS_TRIGGER = """
create trigger grabs after update on florin.account for each row
execute function florin.refuse_change();
"""


async def install(urls: Urls, sql: SqlRelease, release: str = "other") -> None:
    await migrations.run_migrations(
        owner_url=urls.owner, app_url=urls.app, only_plan=False, release=release, sql=sql
    )


async def redeem(connection: Any, merchant: Any, card: Any, amount: int) -> int:
    """Return the balance that the ledger answers."""
    op = Op(
        kind="redeem",
        merchant="m",
        id=ids.new_id(),
        card=card,
        amount=amount,
        key=str(ids.new_id()),
    )
    (row,) = await calls.post(connection, {"m": merchant}, [op])
    assert row["outcome"] == "ok"
    return row["balance"]


async def test_another_release_takes_no_cent_from_this_one(
    urls: Urls, app: Any, owner: Any, tmp_path: Path
) -> None:
    """Also not through statements that were prepared before."""
    merchant, cards = await calls.make_shop(owner, 1)
    before = await redeem(app, merchant, cards[0], 1)
    bad = sql_release(tmp_path, ONE_CENT_MORE)
    await install(urls, bad)
    assert await redeem(app, merchant, cards[0], 1) == before - 1
    async with session_of(urls.app, bad) as later:
        assert await redeem(later, merchant, cards[0], 1) == before - 3  # it is really there
    assert await redeem(app, merchant, cards[0], 1) == before - 4


async def test_a_schedule_of_this_release_expires_what_it_always_expired(
    urls: Urls, app: Any, owner: Any, tmp_path: Path
) -> None:
    bad = sql_release(tmp_path, EXPIRES_ONE_CENT_MORE)
    await install(urls, bad)

    async def expired(connection: Any) -> list[int]:
        merchant = await calls.make_merchant(owner, test=True)
        program = await calls.make_program(owner, merchant, months=1)
        await calls.issue(owner, merchant, program, [ids.new_id()], [100], activate=[True])
        await owner.execute(
            "update florin.merchant set clock_offset = '99 days' where id = $1", merchant
        )
        await connection.fetch(
            "select * from expire_due($1, $2, 'test')", merchant, [ids.new_id(), ids.new_id()]
        )
        rows = await owner.fetch(
            "select amount from florin.transfer where merchant = $1 and kind = 'expire'", merchant
        )
        return [row["amount"] for row in rows]

    assert await expired(app) == [100]
    async with session_of(urls.app, bad) as later:
        assert await expired(later) == [101]


async def test_a_release_that_needs_fewer_rights_takes_none_away(
    urls: Urls, app: Any, owner: Any, tmp_path: Path
) -> None:
    fewer = sql_release(tmp_path, (GRANTS, "grant delete on quota_use to {role};\n", ""))
    await install(urls, fewer)
    await app.execute("delete from florin.quota_use")
    # A right that no set grants is taken away.
    await owner.execute("grant update on florin.quota_use to florin_app")
    await install(urls, fewer)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("update florin.quota_use set cards = 0")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.fetch("select begin_money()")  # inside the set, not for the application


async def test_a_release_that_needs_more_rights_has_them(
    urls: Urls, app: Any, tmp_path: Path
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("delete from florin.heartbeat where false")
    grant = "grant update (at) on heartbeat"
    await install(
        urls,
        sql_release(tmp_path, (GRANTS, grant, f"grant delete on heartbeat to {{role}};\n{grant}")),
    )
    await app.execute("delete from florin.heartbeat where false")


async def test_grants_that_revoke_are_refused(urls: Urls, app: Any, tmp_path: Path) -> None:
    grabs = sql_release(
        tmp_path, (GRANTS, "grant delete on quota_use", "revoke select on card from {role};\ngrant")
    )
    with pytest.raises(MigrationFailed, match=r"only have GRANT statements, not: revoke select"):
        await install(urls, grabs)
    await app.fetch("select from florin.card limit 1")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (REPLACES_TRIGGER, "function florin.refuse_change"),
        (ADDS_TRIGGER, "trigger grabs on florin.account"),
        ("drop trigger account_is_kept on florin.account;", "trigger account_is_kept on"),
        ("revoke select on florin.card from florin_app;", "table florin.card"),
        ("drop schema {PACKAGED} cascade;", "schema florin_"),
        ("alter table florin.card drop column last4;", "column florin.card.last4"),
    ],
)
async def test_functions_that_touch_what_others_use_are_not_installed(
    urls: Urls, owner: Any, tmp_path: Path, statement: str, said: str
) -> None:
    statement = statement.replace("{PACKAGED}", PACKAGED.set_name)
    bad = sql_release(tmp_path, ("ledger/clock.sql", "-- The only clock", f"{statement}\n-- The"))
    before = await owner.fetch("select oid, xmin::text from pg_proc order by 1")
    with pytest.raises(MigrationFailed, match="may only create functions") as refused:
        await install(urls, bad)
    assert said in str(refused.value)
    assert await owner.fetch("select oid, xmin::text from pg_proc order by 1") == before
    assert not await function_sets.is_installed(owner, bad.set_name)


async def test_equal_functions_are_one_set(urls: Urls, owner: Any, tmp_path: Path) -> None:
    assert sql_release(tmp_path / "same").set_name == PACKAGED.set_name
    changed = sql_release(tmp_path / "changed", CLOCK)
    assert changed.set_name != PACKAGED.set_name
    await install(urls, sql_release(tmp_path / "same"), "same")
    await install(urls, changed, "changed")
    await install(urls, changed, "changed again")
    by_name = {each.name: each for each in await function_sets.list_function_sets(owner)}
    assert "same" in by_name[PACKAGED.set_name].releases
    assert by_name[changed.set_name].releases == ["changed", "changed again"]


async def test_only_sets_that_nothing_uses_are_removed(
    urls: Urls, owner: Any, tmp_path: Path
) -> None:
    old = sql_release(tmp_path / "old", CLOCK)
    running = sql_release(tmp_path / "running", (CLOCK[0], CLOCK[1], "-- This clock"))
    kept = sql_release(tmp_path / "kept", (CLOCK[0], CLOCK[1], "-- That clock"))
    called = sql_release(tmp_path / "called", (CLOCK[0], CLOCK[1], "-- Their clock"))
    sets = (("old", old), ("running", running), ("kept", kept), ("called", called))
    for name, sql in sets:
        await install(urls, sql, name)
    # The second process has functions that are the same in another release, which is not kept.
    for name, release, sql in (("api-1", "running", running), ("api-2", "other", called)):
        await owner.execute(
            "insert into florin.process (id, name, release, function_set, schema_number)"
            " values ($1, $2, $3, $4, 6)",
            *(ids.new_id(), name, release, sql.set_name),
        )

    async def prune() -> list[str]:
        return await migrations.run_prune(owner_url=urls.owner, app_url=urls.app, keep=["kept"])

    removed = await prune()
    assert old.set_name in removed
    used = {running.set_name, called.set_name, kept.set_name, PACKAGED.set_name}
    assert not used & set(removed)
    assert await owner.fetchval("select to_regnamespace($1) is null", old.set_name)
    await owner.execute(
        "update florin.process set seen_at = pg_postmaster_start_time() - interval '11 minutes'"
    )
    removed = set(await prune())
    assert removed >= {running.set_name, called.set_name}
    assert not removed & {kept.set_name, PACKAGED.set_name}
    # What was removed can be installed again, as a rollback does.
    await install(urls, old, "old")
    async with session_of(urls.app, old) as connection:
        assert await connection.fetchval("select clock($1) is not null", ids.new_id())


async def test_a_tool_of_another_code_uses_an_installed_set(
    urls: Urls, owner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with session_of(urls.app, sql_release(tmp_path, CLOCK)) as tool:
        await function_sets.use_installed_functions(tool)
        assert await tool.fetchval("select current_schema()") == PACKAGED.set_name
        unknown = sql_release(tmp_path / "unknown", (CLOCK[0], CLOCK[1], "-- Unknown"))
        monkeypatch.setattr(function_sets, "PACKAGED", unknown)
        await function_sets.use_installed_functions(tool)
        latest = (await function_sets.list_function_sets(owner))[-1].name
        assert await tool.fetchval("select current_schema()") == latest
        assert await tool.fetch("select * from queue_facts()") is not None


def test_every_file_with_functions_is_part_of_the_set() -> None:
    elsewhere = ("migrations/", "reports/")  # reports are statements
    found = {str(path.relative_to(PACKAGED.root)) for path in PACKAGED.root.rglob("*.sql")}
    assert {name for name in found if not name.startswith(elsewhere)} == set(FUNCTION_FILES)
    assert len(PACKAGED.function_names) > 40
