"""Database advisor: each fault is found in a database that has it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from florin.kit.postgres.database import open_connection
from florin.ops.diagnostics.database_advisor import advise_database
from tests.conftest import Urls

_FAULTS = """
create table florin.shelf (merchant uuid, id int, primary key (merchant, id));
create table florin.book (
  merchant uuid, id int, shelf int, note text, primary key (merchant, id),
  constraint book_shelf foreign key (merchant, shelf) references florin.shelf (merchant, id)
);
insert into florin.shelf select gen_random_uuid(), n from generate_series(1, 2000) n;
insert into florin.book select merchant, id * 10 + k, id, 'n'
  from florin.shelf, generate_series(0, 9) k;
create index book_note on florin.book (merchant, note);
create index book_too_many on florin.book (merchant);
create index book_broken on florin.book (note);
analyze florin.book;
"""


@pytest.fixture
async def owner(urls: Urls) -> AsyncGenerator[Any]:
    connection = await open_connection(urls.owner, name="tests")
    yield connection
    await connection.execute("drop table if exists florin.book, florin.shelf")
    await connection.close()


async def named(connection: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in await advise_database(connection):
        if check.result != "ok":
            found.setdefault(check.name, []).append(check.message)
    return found


async def test_the_schema_of_florin_needs_no_advice(owner: Any) -> None:
    assert await named(owner) == {}


async def test_each_fault_is_found_and_each_suggestion_was_tried(urls: Urls, owner: Any) -> None:
    await owner.execute(_FAULTS)
    superuser = await open_connection(urls.superuser, name="tests")
    await superuser.execute(
        "update pg_index set indisvalid = false where indexrelid = 'florin.book_broken'::regclass;"
        "select pg_stat_force_next_flush()"
    )
    await superuser.close()
    await owner.execute("select pg_stat_force_next_flush()")
    found = await named(owner)
    assert any(
        "book_too_many" in advice and "book_" in advice for advice in found["duplicate indexes"]
    )
    assert any("book_broken" in advice for advice in found["invalid indexes"])
    assert [advice for advice in found["unused indexes"] if "book_note" in advice]
    (advice,) = found["foreign keys"]
    assert "create index concurrently on florin.book (merchant, shelf)" in advice
    assert "EXPLAIN on a sample uses it" in advice
    # After the suggestion is applied, the advice is gone; nothing of the trial is left.
    await owner.execute("create index on florin.book (shelf, merchant)")
    assert "foreign keys" not in await named(owner)
    left = await owner.fetchval("select count(*) from pg_class where relname like 'advised%'")
    assert left == 0


async def test_a_role_that_cannot_try_an_index_is_reported(urls: Urls, owner: Any) -> None:
    await owner.execute(_FAULTS)
    application = await open_connection(urls.app, name="tests")
    (advice,) = (await named(application))["foreign keys"]
    await application.close()
    assert "not verified (permission denied" in advice


async def test_a_slot_without_a_reader_is_named(urls: Urls, owner: Any) -> None:
    superuser = await open_connection(urls.superuser, name="tests")
    await superuser.execute("select pg_create_physical_replication_slot('forgotten', true)")
    try:
        assert any("forgotten" in advice for advice in (await named(owner))["held back"])
    finally:
        await superuser.execute("select pg_drop_replication_slot('forgotten')")
        await superuser.close()


async def test_a_lock_that_others_wait_for_is_named(urls: Urls, owner: Any) -> None:
    await owner.execute("create table florin.shelf (id int)")
    holder = await open_connection(urls.owner, name="month-end export")
    waiter = await open_connection(urls.owner, name="till")
    held = holder.transaction()
    await held.start()
    await holder.execute("lock table florin.shelf in access exclusive mode")
    pid = await holder.fetchval("select pg_backend_pid()")
    waits = asyncio.ensure_future(waiter.fetch("select from florin.shelf"))
    advice: list[str] = []
    while not advice:  # a transaction that has just begun is none that others wait for in vain
        advice = (await named(owner)).get("locks", [])
    [said] = advice
    assert said.startswith(f"1 wait for a lock on florin.shelf that the session {pid} holds since ")
    assert "month-end export, idle in transaction; last statement: select pg_backend_pid()" in said
    assert f"pg_terminate_backend({pid})" in said
    await held.rollback()
    await waits
    assert "locks" not in await named(owner)
    await holder.close()
    await waiter.close()
