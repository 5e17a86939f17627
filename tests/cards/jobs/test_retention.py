"""Retention: old data is erased and newer data stays; each job runs twice concurrently."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from florin.cards.jobs import retention
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.kit.queue.job import Continue, QueuedJob
from tests.ledger.calls import issue, make_merchant, make_program
from tests.support.waiting import until
from tests.support.workers import Crew

_KEYS = """
insert into florin.idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
select $1, $2 || n, 'redeem', 'x', gen_random_uuid(), now() - $3::interval
from generate_series(1, 1000) n
"""


async def run(owner: Any, *jobs: NewJob) -> None:
    await enqueue_now(owner, *jobs)

    async def over() -> bool:
        return await owner.fetchval("select count(*) from florin.queue_job") == 0

    await until(over)


async def test_keys_are_forgotten_after_their_time(owner: Any, workers: Crew) -> None:
    merchant = await make_merchant(owner)
    await owner.execute(_KEYS, merchant, "old", timedelta(days=41))
    await owner.execute(_KEYS, merchant, "young", timedelta(days=39))
    for _ in range(2):
        workers.start(FLORIN_KEYS_KEPT_DAYS="40")
    await run(owner, *(NewJob(queue="retention", kind="keys") for _ in range(2)))
    rows = await owner.fetch("select key from florin.idempotency where merchant = $1", merchant)
    assert len(rows) == 1000
    assert all(row["key"].startswith("young") for row in rows)


async def test_a_stopped_scan_of_the_keys_is_repeated(owner: Any, database: Database) -> None:
    """A stopped job must not count as done: it runs only once a day."""
    await enqueue_now(owner, NewJob(queue="retention", kind="keys"))
    row = await owner.fetchrow(
        "select id, queue, kind, version, priority, attempts, crashes, fence, payload::text as"
        " payload, trace, position as log_position, 0.0::float8 as waited_s from florin.queue_job"
    )
    job = QueuedJob(row, database, lease=timedelta(seconds=10), stopping=lambda: True)
    assert await retention.forget_keys(job, days=40) == Continue()
    assert await retention.erase_codes(job) == Continue()
    await owner.execute("delete from florin.queue_job")


async def test_no_key_is_forgotten_before_thirty_days(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("select forget_keys(0, 1000, 29)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("delete from florin.idempotency")


async def test_sealed_codes_are_erased(owner: Any, workers: Crew) -> None:
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)
    cards = [ids.new_id() for _ in range(1500)]
    await issue(owner, merchant, program, cards, [100] * 1500, activate=[True] * 1500)
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 s' where id = any($1)",
        cards[:1200],
    )
    workers.start()
    workers.start()
    await run(owner, *(NewJob(queue="retention", kind="codes") for _ in range(2)))
    left = await owner.fetch(
        "select id from florin.card where sealed_code is not null and merchant = $1", merchant
    )
    assert {row["id"] for row in left} == set(cards[1200:])


async def test_tokens_are_cleaned_up(owner: Any, workers: Crew) -> None:
    merchant, member = await make_merchant(owner), ids.new_id()
    await owner.execute(
        "insert into florin.member (merchant, id, email, role) values ($1, $2, 'a@b', 'owner')",
        merchant,
        member,
    )
    ages = (timedelta(days=61), timedelta(days=1))
    for age in ages:
        await owner.execute(
            "insert into florin.session (merchant, id, member, current_hash, client_hash,"
            " address_hash, second_factor, expires_at)"
            " values ($1, $2, $3, 'a', 'b', 'c', false, now() - $4::interval)",
            merchant,
            ids.new_id(),
            member,
            age,
        )
        await owner.execute(
            "insert into florin.email_token (merchant, id, member, kind, hash, expires_at)"
            " values ($1, $2, $3, 'invitation', 'h', now() + interval '2 days' - $4::interval)",
            merchant,
            ids.new_id(),
            member,
            age,
        )
        await owner.execute(
            "insert into florin.failed_attempt"
            " values ($1, 5, 1, now() + interval '2 days' - $2::interval)",
            str(age).encode(),
            age,
        )
    workers.start()
    await run(owner, *(NewJob(queue="cleanup-tokens", kind="cleanup") for _ in range(3)))
    for table in ("session", "email_token", "failed_attempt"):
        number = await owner.fetchval(f"select count(*) from florin.{table}")  # noqa: S608 -- ours
        assert number == 1, table


async def test_totals_outlive_their_slots(owner: Any, workers: Crew) -> None:
    await owner.execute("delete from florin.queue_flow")
    await owner.execute(
        "insert into florin.queue_flow (queue, slot, shard, arrived, completed) values"
        " ('bulk', now() - interval '2 hours', 0, 7, 5),"
        " ('bulk', now() - interval '3 hours', 1, 1, 1)"
    )
    workers.start()
    await run(owner, NewJob(queue="retention", kind="queue"))
    row = await owner.fetchrow("select * from queue_facts() where name = 'bulk'")
    assert (row["arrived"], row["completed"]) == (8, 6)
    old = await owner.fetch("select slot from florin.queue_flow where queue = 'bulk'")
    assert len(old) == 1
