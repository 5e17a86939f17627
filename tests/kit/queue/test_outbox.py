"""Outbox: a message is delivered once if its transaction commits, and otherwise never."""

import asyncio
from typing import Any

import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database, open_connection
from florin.kit.queue.enqueue import enqueue, publish
from tests.kit.queue.test_worker import empty, left, noted
from tests.kit.queue.toys import word
from tests.support.waiting import until
from tests.support.workers import Crew


class Undone(Exception):
    pass


async def outbox(owner: Any) -> int:
    return await owner.fetchval("select count(*) from florin.outbox")


async def over(owner: Any) -> bool:
    return await outbox(owner) == 0 and await empty(owner)


async def test_a_rolled_back_message_is_not_delivered(
    play: Crew, owner: Any, database: Database
) -> None:
    async def undone() -> None:
        async with database.transaction() as tx:
            await enqueue(tx, word("no"))
            await publish(tx, "toy.no", merchant=ids.new_id(), noun=ids.new_id())
            raise Undone

    with pytest.raises(Undone):
        await undone()
    async with database.transaction() as tx:
        await enqueue(tx, word("yes"))
    play.start("2")
    await until(lambda: over(owner))
    assert len(await noted(owner, "yes")) == 1
    assert not await noted(owner, "no")


async def test_a_message_is_delivered_to_every_subscriber(
    play: Crew, owner: Any, database: Database
) -> None:
    async with database.transaction() as tx:
        await publish(tx, "toy.broken", merchant=ids.new_id(), noun=ids.new_id())
        await publish(tx, "other.thing", merchant=ids.new_id(), noun=ids.new_id())
    play.start("2")
    await until(lambda: over(owner))
    assert len(await noted(owner, "toy.broken")) == 1
    assert not await noted(owner, "other.thing")


@pytest.mark.slow
async def test_killed_movers_lose_and_repeat_no_message(
    play: Crew, owner: Any, database: Database
) -> None:
    """The outbox is filled and emptied at the same time, while the movers are killed."""
    number = 6000

    async def fill() -> None:
        for start in range(0, number, 200):
            async with database.transaction() as tx:
                await enqueue(tx, *(word(n) for n in range(start, start + 200)))
            await asyncio.sleep(0.05)

    filling = asyncio.ensure_future(fill())
    for _ in range(4):
        workers = [play.start("3") for _ in range(2)]
        await asyncio.sleep(1.2)
        for worker in workers:
            play.kill(worker)
    await filling
    play.start("5")
    await until(lambda: over(owner), within_s=180)
    row = await owner.fetchrow(
        "select count(*), count(distinct word) from florin.toy where word ~ '^[0-9]+$'"
    )
    assert tuple(row) == (number, number)


async def test_a_move_is_atomic(owner: Any, urls: Any, toy_table: None) -> None:
    """A move is one statement: until it commits, the row is in the outbox only."""
    del toy_table
    await until(lambda: _alone(owner))  # a killed worker's connection may still move rows
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")
    await owner.execute(
        "insert into florin.outbox (queue, kind, payload) values ('toys', 'effect', '{}')"
    )
    mover = await open_connection(urls.app, name="tests")
    try:
        pid = await mover.fetchval("select pg_backend_pid()")
        await mover.execute("begin")
        moved = await mover.fetchrow("select * from queue_relay('{}', '{}', '{}', '{}', 10)")
        assert tuple(moved) == (1, 1)
        assert (await outbox(owner), await left(owner)) == (1, 0)
        # Meanwhile another mover skips the row.
        other = await owner.fetchrow("select * from queue_relay('{}', '{}', '{}', '{}', 10)")
        assert tuple(other) == (0, 0)
    finally:
        mover.terminate()
    await until(lambda: _gone(owner, pid))
    again = await owner.fetchrow("select * from queue_relay('{}', '{}', '{}', '{}', 10)")
    assert tuple(again) == (1, 1)
    assert (await outbox(owner), await left(owner)) == (0, 1)
    position = await owner.fetchval("select position from florin.queue_job")
    assert len(position.split(".")) == 2
    await owner.execute("delete from florin.queue_job")


async def _gone(owner: Any, pid: int) -> bool:
    """Whether a server process has ended: it releases its locks before it ends.

    Only a superuser sees its state; for the owner of the ledger the state of a process of
    another role is null.
    """
    return not await owner.fetchval(
        "select exists (select from pg_stat_activity where pid = $1)", pid
    )


async def _alone(owner: Any) -> bool:
    return not await owner.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and application_name like 'florin worker-%')"
    )
