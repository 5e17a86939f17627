"""Batching: clients that disconnect, slow servers and lost connections; no outcome is guessed."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest

from florin.kit.errors import OutcomeUnknown, Overloaded
from florin.kit.postgres.database import Database
from florin.ledger import batching
from florin.ledger.post import Ledger, Posting, PostResult
from tests.conftest import Urls
from tests.ledger import calls
from tests.support.connections import connected


@pytest.fixture
async def shop(owner: Any) -> tuple[UUID, list[UUID]]:
    return await calls.make_shop(owner, 4)


@pytest.fixture
async def elsewhere(urls: Urls) -> AsyncGenerator[Any]:
    """Another connection, as the superuser."""
    async with connected(urls.superuser) as connection:
        yield connection


def redemption(merchant: UUID, card: UUID, key: str) -> Posting:
    return Posting(
        merchant=merchant, op="redeem", actor="test", card=card, amount=5, currency="EUR",
        key=key, fingerprint=b"5",
    )  # fmt: skip


async def hold(elsewhere: Any, card: UUID) -> Any:
    """Lock a card in a transaction that stays open."""
    holding = elsewhere.transaction()
    await holding.start()
    await elsewhere.execute("select from florin.account where id = $1 for update", card)
    return holding


async def waiting(elsewhere: Any) -> list[tuple[int, Any]]:
    """The ledger calls that wait for a lock: process id and start."""
    rows = await elsewhere.fetch(
        "select pid, query_start from pg_stat_activity where datname = current_database()"
        " and query like '%post(%' and state = 'active' and wait_event_type = 'Lock'"
    )
    return [(row["pid"], row["query_start"]) for row in rows]


async def until_waiting(elsewhere: Any, *, ms: int = 0) -> tuple[int, Any]:
    """The waiting call, once it has waited for `ms`."""
    async with asyncio.timeout(60):
        while True:
            await elsewhere.execute("select pg_stat_clear_snapshot()")
            for pid, since in await waiting(elsewhere):
                waited = await elsewhere.fetchval(
                    "select extract(epoch from clock_timestamp() - $1::timestamptz) * 1000", since
                )
                if waited >= ms:
                    return pid, since
            await asyncio.sleep(0.01)


async def balance(owner: Any, card: UUID) -> int:
    found: int = await owner.fetchval("select balance from florin.account where id = $1", card)
    return found


async def test_a_batch_completes_when_its_client_disconnects(
    ledger: Ledger, elsewhere: Any, owner: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    # A lock on the table: the call as a whole waits and cannot leave the card out.
    holding = elsewhere.transaction()
    await holding.start()
    await elsewhere.execute("lock table florin.transfer in exclusive mode")
    postings = [redemption(merchant, card, f"batch {n}") for n, card in enumerate(cards)]
    gone = asyncio.ensure_future(ledger.post_all(postings))
    await until_waiting(elsewhere)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await asyncio.sleep(0)
    assert len(await waiting(elsewhere)) == 1  # no cancel was sent to the server
    await holding.rollback()
    again = await ledger.post_all(
        [redemption(merchant, card, f"batch {n}") for n, card in enumerate(cards)]
    )
    assert all(isinstance(each, PostResult) and each.replayed for each in again)
    assert [await balance(owner, card) for card in cards] == [995] * 4


async def test_a_slow_server_is_never_sent_a_cancel(
    ledger: Ledger, elsewhere: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    """A cancel can arrive during a commit, and then the outcome is unknown."""
    merchant, cards = shop
    holding = await hold(elsewhere, cards[0])
    posting = asyncio.ensure_future(ledger.post(redemption(merchant, cards[0], "slow")))
    first = await until_waiting(elsewhere, ms=200)
    await asyncio.sleep(0.6)
    await elsewhere.execute("select pg_stat_clear_snapshot()")
    assert await waiting(elsewhere) == [first]
    await holding.rollback()
    assert (await posting).balance == 995


async def test_an_unknown_outcome_is_reported_as_such(
    ledger: Ledger,
    elsewhere: Any,
    owner: Any,
    shop: tuple[UUID, list[UUID]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "REPEAT_FOR_S", 0)
    merchant, cards = shop
    holding = await hold(elsewhere, cards[0])
    posting = asyncio.ensure_future(ledger.post(redemption(merchant, cards[0], "cut off")))
    pid, _ = await until_waiting(elsewhere, ms=200)
    await elsewhere.execute("select pg_terminate_backend($1)", pid)
    with pytest.raises(OutcomeUnknown):
        await posting
    await holding.rollback()
    posted = await ledger.post(redemption(merchant, cards[0], "cut off"))
    assert (posted.replayed, await balance(owner, cards[0])) == (False, 995)


async def test_a_call_that_was_never_sent_is_reported_as_not_executed(
    urls: Urls, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    one = Database(f"{urls.app}?connection_limit=1&pool_timeout=0.1")
    await one.open()
    try:
        async with one.connection():
            with pytest.raises(Overloaded):
                await Ledger(one).post(redemption(merchant, cards[0], "never sent"))
    finally:
        await one.close()


async def test_a_lock_that_is_not_released_in_time_is_an_overload_and_no_bug(
    ledger: Ledger, elsewhere: Any, owner: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    """The call was rolled back, so that its caller may repeat it."""
    merchant, cards = shop
    holding = elsewhere.transaction()
    await holding.start()
    await elsewhere.execute("lock table florin.account in access exclusive mode")
    several = [redemption(merchant, card, f"locked {n}") for n, card in enumerate(cards)]
    with pytest.raises(Overloaded, match="locked"):
        await ledger.post(several[0])
    assert all(isinstance(each, Overloaded) for each in await ledger.post_all(several))
    await holding.rollback()
    posted = await ledger.post(several[0])
    assert (posted.replayed, await balance(owner, cards[0])) == (False, 995)
