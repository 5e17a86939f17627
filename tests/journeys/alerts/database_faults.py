"""Faults of the database: locks, connections and transactions of other programs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

from florin.kit import ids
from florin.kit.postgres.pool import open_connection
from florin.ops.postgres import server as postgres
from tests.journeys.alerts.watched_fleet import WatchedFleet

_SLOW_S = 0.35  # more than the 250 ms of the objective, less than the lock time-out
_TILLS = 2  # few enough that none is refused, since those of one card wait for each other
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
def revoked_right(watched: WatchedFleet) -> Generator[None]:
    """The application may not call the function that moves money: each such request fails."""
    functions = watched.sql(
        "select format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid))"
        " as name from pg_proc p join pg_namespace n on n.oid = pronamespace"
        " where proname = 'post' and nspname like 'florin%'"
    )
    assert functions

    for each in functions:
        watched.sql(f"revoke execute on function {each['name']} from {postgres.APP}")
    try:
        with redeeming_tills(watched, richest_card(watched)) as statuses:
            yield
        assert statuses.count(500) > 60, statuses
    finally:
        for each in functions:
            watched.sql(f"grant execute on function {each['name']} to {postgres.APP}")


@contextmanager
def slow_ledger(watched: WatchedFleet) -> Generator[None]:
    """Another program locks a card again and again: redemptions succeed, but late."""
    card, url = richest_card(watched), watched.superuser_url()

    async def lock(until_ended: Wait) -> None:
        connection = await open_connection(url, name="a program with a lock")
        ended = asyncio.ensure_future(until_ended())
        while not ended.done():
            async with connection.transaction():
                await connection.execute(
                    "select from florin.account where id = $1 for update", card["id"]
                )
                await asyncio.wait([ended], timeout=_SLOW_S)
            await asyncio.wait([ended], timeout=0.2)
        await connection.close()

    with another_program(lock), redeeming_tills(watched, card) as statuses:
        yield
    assert set(statuses) == {201}
    assert len(statuses) > 100


def richest_card(watched: WatchedFleet) -> Any:
    """The id and currency of the card with the highest balance."""
    [card] = watched.sql("select id, currency from florin.account order by balance desc limit 1")
    return card


@contextmanager
def redeeming_tills(watched: WatchedFleet, card: Any) -> Generator[list[int]]:
    """Tills redeem one cent of a card after the other; yields the statuses of the answers."""
    body = {"card": ids.show_id("crd", card["id"]), "amount": 1, "currency": card["currency"]}
    statuses: list[int] = []

    async def redeem(until_ended: Wait) -> None:
        ended = asyncio.ensure_future(until_ended())
        while not ended.done():
            key = {"Idempotency-Key": str(ids.new_id())}
            answer = await asyncio.to_thread(http.post, "/redemptions", json=body, headers=key)
            statuses.append(answer.status_code)
            await asyncio.sleep(0.05)

    async def redeem_at_many_tills(until_ended: Wait) -> None:
        await asyncio.gather(*(redeem(until_ended) for _ in range(_TILLS)))

    with watched.http() as http, another_program(redeem_at_many_tills):
        yield statuses


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
