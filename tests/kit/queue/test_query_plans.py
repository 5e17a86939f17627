"""Query plans: a function of the queue reads only the rows it names, even with wrong statistics."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest

from florin.kit.postgres.database import open_connection
from tests.conftest import Urls
from tests.kit.queue.toys import fill_misled, word

MANY, FEW = 2000, 20
CLAIM = """
select * from queue_claim(gen_random_uuid(), array['toys'], array[$1::integer], $1,
  array['effect'], array[2], $2::text::interval)
"""
RELAY = "select taken from queue_relay('{}', '{}', '{}', '{}', $1)"
_OUTBOX = """
insert into florin.outbox (queue, kind, payload)
select 'toys', 'effect', '{}' from generate_series(1, $1)
"""
_TOUCHED = """
select sum(seq_tup_read + idx_tup_fetch)::bigint from pg_stat_xact_user_tables
where relid in ('florin.queue_job'::regclass, 'florin.outbox'::regclass)
"""


class Counting:
    """A connection inside a transaction that is never committed."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def rows(self, sql: str, *args: object) -> list[Any]:
        """Run a function, which may read only a few rows for each that it names."""
        before = await self.connection.fetchval(_TOUCHED)
        rows = await self.connection.fetch(sql, *args)
        touched = await self.connection.fetchval(_TOUCHED) - before
        assert touched <= 10 * FEW, f"{touched} rows were touched: {sql}"
        return rows


@pytest.fixture(params=["analysed while empty", "planned while empty"])
async def misled(
    urls: Urls, owner: Any, toy_table: None, request: pytest.FixtureRequest
) -> AsyncGenerator[Counting]:
    """Many jobs that the statistics of the planner do not know."""
    del toy_table
    await owner.execute(
        "alter table florin.queue_job set (autovacuum_enabled = off);"
        " alter table florin.outbox set (autovacuum_enabled = off);"
        " insert into florin.queue (name) values ('toys') on conflict do nothing"
    )
    connection = await open_connection(urls.app, name="tests")
    if request.param == "planned while empty":
        await owner.execute("truncate florin.queue_job, florin.outbox")
        for _ in range(2):
            await connection.fetch(CLAIM, FEW, "60 s")
            for verb in (
                "heartbeat($1, $2, '60 s')",
                "complete($1, $2)",
                "give_back($1, $2)",
                "reap()",
            ):
                args = ([1], [1]) if "$1" in verb else ()
                await connection.fetch(f"select queue_{verb}", *args)
            await connection.fetch(RELAY, FEW)
    await fill_misled(owner, *(word(n) for n in range(MANY)))
    await owner.execute(_OUTBOX, MANY)
    await owner.execute("delete from florin.outbox; analyze florin.outbox")
    await owner.execute(_OUTBOX, MANY)
    await connection.execute("begin")
    yield Counting(connection)
    await connection.close()
    await owner.execute("truncate florin.queue_job, florin.outbox")


async def test_a_function_reads_only_the_rows_it_names(misled: Counting) -> None:
    taken = await misled.rows(CLAIM, FEW, "60 s")
    assert len(taken) == FEW, "a claim took more than it was asked to"
    assert len({job["id"] for job in taken}) == FEW
    jobs, fences = [job["id"] for job in taken], [job["fence"] for job in taken]
    lost = await misled.rows(
        "select * from queue_heartbeat($1, $2, '60 s') as fence", jobs, [*fences[:-1], 0]
    )
    assert [row["fence"] for row in lost] == [0]
    await misled.rows("select queue_give_back($1, $2)", jobs[:5], fences[:5])
    done = await misled.rows("select queue_complete($1, $2) as id", jobs, fences)
    assert {row["id"] for row in done} == set(jobs[5:])


async def test_expired_leases_are_found_by_index(misled: Counting) -> None:
    taken = await misled.rows(CLAIM, FEW, "-1 s")
    assert len(await misled.rows("select * from queue_reap()")) == len(taken) == FEW


async def test_delayed_jobs_become_ready_a_thousand_at_once(misled: Counting) -> None:
    await misled.connection.execute(
        "update florin.queue_job set state = 3, due_at = now() - interval '1 s'"
    )
    await misled.connection.fetch(CLAIM, FEW, "60 s")
    states = await misled.connection.fetch(
        "select state, count(*) as n from florin.queue_job group by 1 order by 1"
    )
    found = {row["state"]: row["n"] for row in states}
    assert found == {0: 1000 - FEW, 1: FEW, 3: MANY - 1000}


async def test_a_move_reads_only_the_rows_it_moves(misled: Counting) -> None:
    (row,) = await misled.rows(RELAY, FEW)
    assert row["taken"] == FEW


async def test_the_slots_of_a_merchant_are_found_by_index(misled: Counting) -> None:
    """Among thousands of jobs of the same merchant and of others."""
    merchant = "00000000-0000-0000-0000-000000000001"
    await misled.connection.execute(
        "update florin.queue_job set merchant = $1, place = id,"
        " state = case id % 3 when 1 then 0 else id % 3 + 1 end,"
        " fence = case id % 3 when 0 then id end",
        UUID(merchant),
    )
    put = "select queue_put($1, $2, $3, $4, $5, $6, $7, $8, null)"
    payload = f'{{"merchant": "{merchant}"}}'
    rows = [("toys", "effect", 2, payload, 0, None, None, None)] * FEW
    await misled.rows(put, *(list(column) for column in zip(*rows, strict=True)))
