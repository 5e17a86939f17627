"""Outages: PostgreSQL is killed and restarted, Valkey is away: no job is lost or run twice."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from florin.kit.postgres.database import open_connection
from tests.conftest import Urls
from tests.kit.queue import toys
from tests.kit.queue.toys import fill, word
from tests.support import postgres_server
from tests.support.ports import free_port
from tests.support.waiting import until
from tests.support.workers import Crew, crew

NOTED = "select count(*), count(distinct word) from florin.toy where word ~ '^[0-9]+$'"


@pytest.fixture
async def durable() -> AsyncGenerator[postgres_server.Server]:
    with postgres_server.server(postgres_server.program(), durable=True) as server:
        await postgres_server.make_template(server)
        owner = await open_connection(server.url("florin_owner", "florin_template"), name="tests")
        await owner.execute(toys.TABLE)
        await owner.close()
        yield server


@pytest.mark.slow
async def test_workers_survive_a_restart_of_postgresql(durable: postgres_server.Server) -> None:
    url = durable.url("florin_app", "florin_template")
    with crew(url, "tests.kit.queue.toys") as play:
        # Valkey is away as well: nothing listens at its address.
        redis = f"redis://127.0.0.1:{free_port()}/0"
        before = await open_connection(url, name="tests")
        try:
            await fill(before, word("long", "slow", seconds=4), *(word(n) for n in range(3000)))
            await fill(before, *(word(n, "slow", seconds=0.2) for n in range(3000, 3100)))
            workers = [play.start("5", REDIS_URL=redis) for _ in range(2)]
            await until(lambda: _begun(before))
            os.kill(durable.process.pid, signal.SIGKILL)
            durable.process.wait(60)
        finally:
            before.terminate()
        await asyncio.sleep(1)
        process, _ = postgres_server.start(postgres_server.program(), durable.data, durable.port)
        owner = await open_connection(url, name="tests")
        try:
            await until(lambda: _over(owner), within_s=180)
            assert tuple(await owner.fetchrow(NOTED)) == (3100, 3100)
            row = await owner.fetchrow("select count(*) from florin.toy where word = 'long'")
            assert row["count"] == 1
            assert [worker.poll() for worker in workers] == [None, None], "a worker left its loop"
            assert [play.stop(worker) for worker in workers] == [0, 0]
        finally:
            owner.terminate()
            postgres_server.stop(process)


async def test_a_worker_ends_while_postgresql_is_away(play: Crew, owner: Any) -> None:
    """A worker that cannot record the results of its jobs does not wait for ever."""
    url = f"postgresql://x@127.0.0.1:{free_port()}/x?pool_timeout=1"
    gone = play.start("2", DATABASE_URL=url)

    async def noticed() -> bool:
        assert gone.poll() is None
        return "the database is away" in play.log(gone)

    await until(noticed)
    assert await asyncio.to_thread(play.stop, gone) == 0
    del owner


async def test_workers_survive_the_loss_of_all_connections(
    play: Crew, owner: Any, urls: Urls
) -> None:
    await fill(owner, word("long", "slow", seconds=3), *(word(n) for n in range(3000)))
    workers = [play.start("5") for _ in range(2)]
    await until(lambda: _begun(owner))
    superuser = await open_connection(urls.superuser, name="tests")
    cut = await superuser.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where application_name like 'florin worker-%'"
    )
    await superuser.close()
    assert cut > 2
    await until(lambda: _over(owner), within_s=60)
    assert tuple(await owner.fetchrow(NOTED)) == (3000, 3000)
    assert await owner.fetchval("select count(*) from florin.toy where word = 'long'") == 1
    assert [worker.poll() for worker in workers] == [None, None], "a worker left its loop"


async def _begun(owner: Any) -> bool:
    return await owner.fetchval("select count(*) from florin.toy where word = 'long:begun'") > 0


async def _over(owner: Any) -> bool:
    return await owner.fetchval("select count(*) from florin.queue_job") == 0
