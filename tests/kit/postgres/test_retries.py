"""Retries: a statement whose connection broke is repeated only if it is idempotent."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import florin
from florin.cards import card, lookup
from florin.identity import authentication
from florin.kit.postgres.database import BROKEN, MAY_CALL, Database, is_read_only, open_connection
from florin.kit.postgres.sql_release import PACKAGED
from florin.kit.queue import worker
from florin.reports import proof
from tests.conftest import Urls

# A sequence counts the calls despite rollbacks, and the first call loses its connection.
_STRIKE = """
create sequence florin.strikes;
grant usage, select on florin.strikes to florin_app;
create function florin.strike() returns bigint language plpgsql as $$
declare n bigint := nextval('florin.strikes');
begin
  if n = 1 then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(10); end if;
  return n;
end $$;
grant execute on function florin.strike() to florin_app;
"""


@pytest.fixture
async def strikes(owner: Any) -> AsyncGenerator[Any]:
    await owner.execute(_STRIKE)
    yield owner
    await owner.execute("drop function florin.strike(); drop sequence florin.strikes")


@pytest.mark.parametrize("how", ["one", "all"])
async def test_a_statement_with_effects_is_not_repeated(
    database: Database, strikes: Any, how: str
) -> None:
    with pytest.raises(BROKEN):
        await getattr(database, how)("select florin.strike() as n")
    assert await strikes.fetchval("select last_value from florin.strikes") == 1


@pytest.mark.parametrize("how", ["one", "all"])
async def test_a_read_is_repeated(database: Database, urls: Urls, how: str) -> None:
    name = f"repeat {how}"
    root = await open_connection(urls.superuser, name="tests")
    try:
        # It sleeps for as long as the table says: until it is cancelled, then not at all.
        await root.execute(
            "create table florin.nap (s int); insert into florin.nap values (60);"
            " grant select on florin.nap to florin_app"
        )
        asking = asyncio.ensure_future(
            getattr(database, how)(f"select 2 as n, '{name}', pg_sleep(s) from florin.nap")  # noqa: S608
        )
        async with asyncio.timeout(60):
            while not await root.fetchval(_SLEEPING, name):
                assert not asking.done()
        await root.execute("update florin.nap set s = 0")
        assert await root.fetchval(f"select pg_terminate_backend(({_SLEEPING}))", name)
        found: Any = await asking
        assert (found if how == "one" else found[0])["n"] == 2
    finally:
        await root.execute("drop table if exists florin.nap")
        await root.close()


_SLEEPING = (
    "select pid from pg_stat_activity where datname = current_database()"
    " and query like '%' || $1 || '%' and wait_event = 'PgSleep'"
)


@pytest.mark.parametrize(
    ("reads", "sql"),
    [
        (True, "select 1"),
        (True, "-- update nothing\n with a as (select updated_at from b) select * from a"),
        (True, "select clock($1), x from florin.account where (a)"),
        (True, vars(proof)["_PROOF"]),
        (True, lookup.SQL),
        (True, vars(card)["_BY_ID"]),
        (True, vars(authentication)["_KEY"]),
        (False, vars(worker)["_CLAIM"]),
        (False, "select * from post($1)"),
        (False, "select FLORIN.Post ($1)"),
        (False, "select florin . post($1)"),
        (False, "select florin.clock_of($1)"),
        (False, "with gone as (delete from florin.session returning 1) select count(*) from gone"),
        (False, "select nextval('a')"),
        (False, "select pg_try_advisory_lock(1)"),
        (False, "update florin.session set a = 1"),
    ],
)
def test_which_statements_count_as_reads(*, reads: bool, sql: str) -> None:
    assert is_read_only(sql) is reads


async def test_functions_listed_as_reads_change_nothing(owner: Any) -> None:
    """Each listed function runs in a read-only transaction; one sets the same value again."""
    rows = await owner.fetch(
        "select proname, array(select format_type(t, null) from unnest(proargtypes) t) as types"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where proname = any($1) and nspname = any(current_schemas(false))",
        list(MAY_CALL),
    )
    assert {row["proname"] for row in rows} == set(MAY_CALL)
    for row in rows:
        if row["proname"] == "queue_begin":
            continue  # `set begun = true` under a fence
        nothing = ", ".join(f"null::{kind}" for kind in row["types"])
        async with owner.transaction(readonly=True):
            await owner.fetch(f"select {row['proname']}({nothing})")


def test_no_call_of_a_function_names_a_schema() -> None:
    """A function is found by the search path of the release; in `florin` there is none."""
    root = Path(florin.__file__).parent
    named = re.compile(rf"\bflorin\.({'|'.join(PACKAGED.function_names)})\(")
    files = [*root.rglob("*.py"), *root.rglob("*.sql")]
    assert [str(path) for path in files if named.search(path.read_text(encoding="utf-8"))] == []
