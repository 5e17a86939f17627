"""Slow reads: the server ends them, they are not repeated elsewhere, and only reads are ended."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from florin.kit import client_departure
from florin.kit.client_departure import ClientConnection
from florin.kit.errors import ClientGone
from florin.kit.observability import metrics
from florin.kit.postgres.database import Database, StatementTimeout
from florin.kit.postgres.pool import READ_STATEMENT_S
from florin.kit.postgres.pool_limits import PoolLimits, reading_connections
from florin.kit.replicas.replica import Replica
from florin.kit.replicas.routing import READ_WITHIN_S, ReplicaRouter
from tests.conftest import Urls

SLEEP = "select pg_sleep(30)"


class _Trusting:
    """Tokens without any recorded position: any replica may answer."""

    async def required_positions(self, _names: object) -> int:
        return 0

    async def record(self, _names: object, _lsn: int) -> bool:
        return True


class _AlwaysUsable(Replica):
    """The primary in place of a replica: the tests are about what follows from its answers."""

    def usable(self) -> bool:
        return True

    async def look(self, connection: object) -> int:
        del connection
        return 1


@asynccontextmanager
async def _router(urls: Urls, *, replicas: int = 0) -> AsyncGenerator[ReplicaRouter]:
    database = Database(urls.app)
    made = [_AlwaysUsable(urls.app, name="reads", server=f"slow-{n}") for n in range(replicas)]
    tokens = _Trusting() if replicas else None
    routing = ReplicaRouter(database, made, tokens)  # pyright: ignore[reportArgumentType]
    await database.open()
    await routing.reading.open()
    for each in made:
        await each.pool.open()
    try:
        yield routing
    finally:
        for each in made:
            await each.pool.close()
        await routing.reading.close()
        await database.close()


async def _asleep(database: Database) -> int:
    row = await database.one(
        "select count(*) as n from pg_stat_activity where datname = current_database()"
        " and state = 'active' and query = $1",
        SLEEP,
    )
    assert row is not None
    return row["n"]


def _value(counter: Any) -> float:
    return next(iter(counter.collect())).samples[0].value


async def _until_asleep(database: Database) -> None:
    async with asyncio.timeout(60):
        while not await _asleep(database):  # noqa: ASYNC110 -- the server has no event
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_slow_read_is_ended_by_the_server_and_not_repeated(urls: Urls) -> None:
    async with _router(urls) as routing:
        for reads in (routing.reader("x"), routing.reading):
            began = time.monotonic()
            async with asyncio.timeout(READ_STATEMENT_S * 5):
                with pytest.raises(StatementTimeout):
                    await reads.all(SLEEP)
            assert time.monotonic() - began >= READ_STATEMENT_S
            assert await _asleep(routing.database) == 0
            assert (await reads.all("select 1 as n"))[0]["n"] == 1  # the connection still works


async def test_a_slow_read_of_a_replica_is_not_repeated_elsewhere(urls: Urls) -> None:
    """Neither another replica nor the primary: each would take as long again."""
    elsewhere = metrics.replica_reads.labels("primary", "no replica")
    slow = [metrics.replica_reads.labels(f"slow-{n}", "slow") for n in range(3)]
    async with _router(urls, replicas=3) as routing:
        before, slow_before = _value(elsewhere), sum(map(_value, slow))
        reading = asyncio.ensure_future(routing.reader("x").all(SLEEP))
        async with asyncio.timeout(60):
            await _until_asleep(routing.database)
            with pytest.raises(StatementTimeout):
                await reading
        assert await _asleep(routing.database) == 0
        assert sum(map(_value, slow)) == slow_before + 1
        assert _value(elsewhere) == before
    assert READ_WITHIN_S > READ_STATEMENT_S  # only a frozen server answers later than this


async def test_read_connections_are_read_only(urls: Urls) -> None:
    for query in ("", "?target_session_attrs=read-write"):
        database = Database(f"{urls.app}{query}")
        reading = database.for_reads()
        await reading.open()
        try:
            async with reading.connection() as connection:
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.execute("update florin.heartbeat set at = at")
        except asyncpg.ReadOnlySQLTransactionError:
            pass
        finally:
            await reading.close()


async def test_writes_have_no_statement_timeout(urls: Urls) -> None:
    async with _router(urls) as routing:
        for database, says in ((routing.database, "0"), (routing.reading, "4s")):
            row = await database.one("select current_setting('statement_timeout') as limit")
            assert row is not None
            assert row["limit"] == says


def test_reads_have_half_as_many_connections() -> None:
    limits = PoolLimits("postgresql://a/b?connection_limit=9&target_session_attrs=read-write")
    reads = limits.for_reads()
    assert (limits.connections, reads.connections) == (9, 4)
    assert reads.dsn.endswith("target_session_attrs=primary")
    assert limits.dsn.endswith("target_session_attrs=read-write")
    assert [reading_connections(n) for n in (1, 2, 3, 20)] == [1, 1, 1, 10]


async def _in_request(client: ClientConnection, database: Database) -> None:
    client_departure.during(client)
    await database.all(SLEEP if database.limits.connections < 10 else "select pg_sleep(0.5)")


async def test_only_reads_end_with_their_client(urls: Urls) -> None:
    async with _router(urls) as routing:
        client = ClientConnection()
        tasks = [
            asyncio.ensure_future(_in_request(client, each))
            for each in (routing.reading, routing.database)
        ]
        await _until_asleep(routing.database)
        client.lost()
        read, money = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(read, ClientGone)
        assert money is None
        assert await _asleep(routing.database) == 0
        late = asyncio.ensure_future(_in_request(client, routing.reading))
        with pytest.raises(ClientGone):
            await late


async def test_a_task_cancelled_elsewhere_stays_cancelled(urls: Urls) -> None:
    async with _router(urls) as routing:
        task = asyncio.ensure_future(_in_request(ClientConnection(), routing.reading))
        await _until_asleep(routing.database)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
