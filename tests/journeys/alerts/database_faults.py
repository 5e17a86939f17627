"""Faults of the database: connections and transactions of other programs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager

from florin.kit.postgres.pool import open_connection
from florin.ops.postgres import server as postgres
from tests.journeys.alerts.watched_fleet import WatchedFleet

Wait = Callable[[], Awaitable[None]]


@contextmanager
def another_program(work: Callable[[Wait], Coroutine[None, None, None]]) -> Generator[None]:
    """Run `work` in a thread of its own; what it awaits returns when the context ends."""
    ended = threading.Event()

    async def until_ended() -> None:
        await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work(until_ended)), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


@contextmanager
def no_connections(watched: WatchedFleet) -> Generator[None]:
    url = watched.fleet.url(watched.fleet.primary().name, postgres.APP)
    [limit] = watched.sql(
        "select current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int as most,"
        " (select count(*) from pg_stat_activity where datid is not null) as used"
    )
    opened = threading.Event()

    async def hold(until_ended: Wait) -> None:
        names = ["a program without a pool"] * (limit["most"] - limit["used"] - 2)
        taken = [await open_connection(url, name=name) for name in names]
        opened.set()
        await until_ended()
        for connection in taken:
            connection.terminate()

    with another_program(hold):
        assert opened.wait(120)
        yield


@contextmanager
def idle_transaction(watched: WatchedFleet) -> Generator[None]:
    url = watched.fleet.url(watched.fleet.primary().name, postgres.APP)

    async def hold(until_ended: Wait) -> None:
        connection = await open_connection(url, name="a program that forgot to commit")
        async with connection.transaction():
            await connection.fetchval("select 1")
            await until_ended()
        await connection.close()

    with another_program(hold):
        yield
