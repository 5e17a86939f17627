"""Concurrency, without a model: money is conserved, nothing deadlocks, every refusal is known."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from florin.kit import ids
from florin.kit.errors import Refusal
from florin.kit.postgres.database import Database, open_connection
from florin.ledger.batching import LOCK_TIMEOUT_ALONE_MS
from florin.ledger.post import Ledger, Posting, PostResult
from florin.ledger.refusals import BY_OUTCOME
from florin.reports import balances as books
from florin.reports import proof as proof_
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.model import Op
from tests.support.connections import connected

_CUTS = 6
NAMED = {*BY_OUTCOME, "ok", "replayed", "busy"}


@pytest.fixture
async def shop(owner: Any) -> tuple[UUID, list[UUID]]:
    return await calls.make_shop(owner, 8)


@pytest.fixture
async def elsewhere(urls: Urls) -> AsyncGenerator[Any]:
    """Another connection."""
    async with connected(urls.owner) as connection:
        yield connection


def redemption(
    merchant: UUID, card: UUID, amount: int = 1, key: str | None = None, op: str = "redeem"
) -> Posting:
    return Posting(
        merchant=merchant, op=op, actor="test", card=card, amount=amount, currency="EUR",
        key=key or str(ids.new_id()), fingerprint=b"%d" % amount,
    )  # fmt: skip


async def deadlocks(owner: Any) -> int:
    await owner.execute("select pg_stat_clear_snapshot(), pg_stat_force_next_flush()")
    count: int = await owner.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return count


async def test_concurrent_redemptions_never_exceed_the_balance(
    ledger: Ledger, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    other = Ledger(database)  # acts as another instance
    answers = await asyncio.gather(
        *(
            (ledger if n % 2 else other).post(redemption(merchant, cards[0], 10))
            for n in range(300)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, PostResult) for answer in answers) == 100
    refused = [answer for answer in answers if not isinstance(answer, PostResult)]
    assert {getattr(answer, "code", answer) for answer in refused} == {"insufficient_funds"}
    assert sorted(a.balance for a in answers if isinstance(a, PostResult)) == list(
        range(0, 1000, 10)
    )


async def test_concurrent_requests_with_one_key_have_one_effect(
    ledger: Ledger, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    other = Ledger(database)
    answers = await asyncio.gather(
        *(
            (ledger if n % 2 else other).post(redemption(merchant, cards[0], 7, key="the-key"))
            for n in range(50)
        )
    )
    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.recalled for answer in answers) == 1
    row = await database.one("select balance, sequence from florin.account where id = $1", cards[0])
    assert row is not None
    assert (row["balance"], row["sequence"]) == (993, 2)


def random_op(pick: random.Random, cards: list[UUID], held: list[UUID], redeemed: list[UUID]) -> Op:
    kind = pick.choice(
        ("redeem", "transfer", "transfer", "hold", "capture", "refund", "load", "void")
    )
    op = Op(kind=kind, merchant="m", id=ids.new_id(), card=pick.choice(cards), amount=5,
            key=f"k{pick.randrange(3000)}", expires_in=600)  # fmt: skip
    if kind == "transfer":
        op.other = pick.choice([card for card in cards if card != op.card])
    elif kind in {"capture", "void"}:
        op.card, op.other, op.amount = None, pick.choice(held or [ids.new_id()]), None
    elif kind == "refund":
        op.card, op.other = None, pick.choice(redeemed or [ids.new_id()])
    return op


async def test_random_operations_conserve_money(
    urls: Urls, owner: Any, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    before = await deadlocks(owner)
    outcomes: set[str] = set()
    connections: list[Any] = []

    async def client(connection: Any, seed: int) -> None:
        pick = random.Random(seed)
        redeemed: list[UUID] = []
        held: list[UUID] = []
        for _ in range(40):
            ops = [random_op(pick, cards, held, redeemed) for _ in range(pick.choice((1, 3, 12)))]
            rows = await calls.post(connection, {"m": merchant}, ops)
            for op, row in zip(ops, rows, strict=True):
                outcomes.add(row["outcome"])
                if row["outcome"] == "ok" and op.kind == "redeem":
                    redeemed.append(op.id)
                if row["outcome"] == "ok" and op.kind == "hold":
                    held.append(op.id)

    try:
        while len(connections) < 16:
            connections.append(await open_connection(urls.app, name=f"client {len(connections)}"))
        await asyncio.gather(*(client(each, n) for n, each in enumerate(connections)))
    finally:
        for connection in connections:
            await connection.close()
    assert outcomes <= NAMED
    assert {"ok", "replayed", "idempotency_key_reused"} <= outcomes
    assert await deadlocks(owner) == before
    proof = await proof_.prove_ledger(database, merchant)
    assert proof.balanced, proof.differences
    total = await database.one("select sum(balance) as s from florin.account where merchant = $1",
                               merchant)  # fmt: skip
    balances = await balances_at(database, merchant, None)
    assert total is not None
    assert balances.liability == total["s"]
    assert sum(account.balance for account in balances.accounts) == 0


async def test_calls_with_crossed_keys_and_cards_do_not_deadlock(
    urls: Urls, owner: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    before = await deadlocks(owner)
    one, two = [await open_connection(urls.app, name=f"crossed {n}") for n in range(2)]

    def ops(turn: int, *, backwards: bool) -> list[Op]:
        made = [
            Op(kind="redeem", merchant="m", id=ids.new_id(), card=card, amount=1, currency="EUR",
               key=f"crossed-{turn}-{n}")
            for n, card in enumerate(cards)
        ]  # fmt: skip
        return made[::-1] if backwards else made

    try:
        for turn in range(150):
            both = await asyncio.gather(
                calls.post(one, {"m": merchant}, ops(turn, backwards=False)),
                calls.post(two, {"m": merchant}, ops(turn, backwards=True)),
            )
            outcomes = sorted(row["outcome"] for rows in both for row in rows)
            assert outcomes == ["ok"] * 8 + ["replayed"] * 8
    finally:
        await one.close()
        await two.close()
    assert await deadlocks(owner) == before


async def test_calls_that_share_keys_wait_in_one_order(
    urls: Urls, owner: Any, elsewhere: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    """A key that runs elsewhere holds both calls among their keys: they have all met when it ends.

    Each has claimed keys by then that the other needs, unless both claim in one order.
    """
    merchant, cards = shop
    before = await deadlocks(owner)
    names = [f"shared {n}" for n in range(2)]
    pair = [await open_connection(urls.app, name=name) for name in names]

    def ops(turn: int) -> list[Op]:
        return [
            Op(kind="redeem", merchant="m", id=ids.new_id(), card=card, amount=1, currency="EUR",
               key=f"shared-{turn}-{n}")
            for n, card in enumerate(cards)
        ]  # fmt: skip

    async def waiting(admin: Any) -> int:
        count: int = await admin.fetchval(
            "select count(*) from pg_stat_activity"
            " where application_name = any($1) and wait_event_type = 'Lock'",
            names,
        )
        return count

    async def meet(admin: Any) -> None:
        for turn in range(4):
            running = elsewhere.transaction()
            await running.start()
            await calls.post(elsewhere, {"m": merchant}, ops(turn)[4:5])
            both = [
                asyncio.ensure_future(
                    calls.post(each, {"m": merchant}, ops(turn), patience_ms=60_000)
                )
                for each in pair
            ]
            async with asyncio.timeout(60):
                while await waiting(admin) < 2 and not any(  # noqa: ASYNC110
                    task.done() for task in both
                ):
                    await asyncio.sleep(0.01)
            await running.rollback()
            answered = await asyncio.gather(*both)
            outcomes = sorted(row["outcome"] for rows in answered for row in rows)
            assert outcomes == ["ok"] * 8 + ["replayed"] * 8

    try:
        async with connected(urls.superuser) as admin:  # sees what others wait for
            await meet(admin)
    finally:
        for each in pair:
            await each.close()
    assert await deadlocks(owner) == before


async def test_a_card_locked_elsewhere_does_not_delay_other_items(
    ledger: Ledger, elsewhere: Any, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    holding = elsewhere.transaction()
    await holding.start()
    await elsewhere.execute("select from florin.account where id = $1 for update", cards[0])
    stuck = [asyncio.ensure_future(ledger.post(redemption(merchant, cards[0]))) for _ in range(5)]
    # These wait until their lock timeout; other items must not wait that long.
    async with asyncio.timeout(LOCK_TIMEOUT_ALONE_MS / 1000 - 1):
        for _ in range(5):
            await asyncio.gather(*(ledger.post(redemption(merchant, card)) for card in cards[1:]))
    assert not any(task.done() for task in stuck)
    await holding.rollback()
    posted = await asyncio.gather(*stuck)
    assert sorted(each.balance for each in posted) == [995, 996, 997, 998, 999]


async def test_a_duplicate_waits_for_a_key_that_runs_elsewhere(
    ledger: Ledger, elsewhere: Any, urls: Urls, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    op = Op(kind="redeem", merchant="m", id=ids.new_id(), card=cards[0], amount=1, key="slow")
    running = elsewhere.transaction()
    await running.start()
    assert (await calls.post(elsewhere, {"m": merchant}, [op]))[0]["outcome"] == "ok"
    again = replace(op, id=ids.new_id())
    connection = await open_connection(urls.app, name="duplicate")
    try:
        hurried = await calls.post(connection, {"m": merchant}, [again], patience_ms=50)
        assert hurried[0]["outcome"] == "busy"
        patient = asyncio.ensure_future(
            calls.post(connection, {"m": merchant}, [again], patience_ms=120_000)
        )
        done, _ = await asyncio.wait([patient], timeout=0.3)
        assert not done
        # Other items do not wait meanwhile, not even in the same call as a third duplicate.
        async with asyncio.timeout(60):
            await ledger.post(redemption(merchant, cards[1]))
        assert not patient.done()
        await running.commit()
        row = (await patient)[0]
        assert (row["outcome"], row["id"]) == ("replayed", op.id)
    finally:
        await connection.close()


async def test_broken_connections_neither_lose_nor_repeat_a_posting(
    ledger: Ledger, urls: Urls, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    """Calls in flight are repeated with their keys: each load happens once."""
    merchant, cards = shop
    over, cuts, rounds = False, 0, 0

    async def cut() -> None:
        """Cut one connection, then wait for a round to end: calls that are always cut never end."""
        nonlocal cuts
        admin, cut_in = await open_connection(urls.superuser, name="cutter"), 0
        try:
            while not over:
                if rounds > cut_in and await admin.fetchval(
                    "select count(pg_terminate_backend(pid)) from ("
                    " select pid from pg_stat_activity"
                    " where datname = current_database() and usename = 'florin_app'"
                    " and query like '%post(%' and state = 'active' limit 1) as one"
                ):
                    cuts, cut_in = cuts + 1, rounds
                await asyncio.sleep(0.01)
        finally:
            await admin.close()

    cutting = asyncio.ensure_future(cut())
    posted: list[PostResult | BaseException] = []
    # Loads, so that the cards always have a balance.
    until = time.monotonic() + 120
    try:
        while cuts < _CUTS and time.monotonic() < until:
            rounds += 1
            posted += await asyncio.gather(
                *(ledger.post(redemption(merchant, card, op="load")) for card in cards),
                return_exceptions=True,
            )
    finally:
        over = True
        await cutting
    assert cuts >= _CUTS
    assert all(isinstance(each, PostResult) for each in posted), [
        each for each in posted if not isinstance(each, PostResult)
    ][:3]
    rows = await database.all("select balance from florin.account where merchant = $1", merchant)
    assert [row["balance"] for row in rows] == [1000 + rounds] * 8


async def test_a_cancelled_request_is_executed_once(
    ledger: Ledger, elsewhere: Any, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    holding = elsewhere.transaction()
    await holding.start()
    await elsewhere.execute("select from florin.account where id = $1 for update", cards[0])
    posting = redemption(merchant, cards[0], 5, key="left")
    gone = asyncio.ensure_future(ledger.post(posting))
    await asyncio.wait([gone], timeout=0.2)
    gone.cancel()
    await holding.rollback()
    again = redemption(merchant, cards[0], 5, key="left")
    assert (await ledger.post(again)).recalled
    row = await database.one("select balance from florin.account where id = $1", cards[0])
    assert row is not None
    assert row["balance"] == 995


@pytest.mark.slow
async def test_a_balance_at_an_instant_never_changes(
    elsewhere: Any, ledger: Ledger, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    running = elsewhere.transaction()
    await running.start()
    op = Op(kind="redeem", merchant="m", id=ids.new_id(), card=cards[0], amount=100, key="long")
    await calls.post(elsewhere, {"m": merchant}, [op])
    await ledger.post(redemption(merchant, cards[1], 3))
    row = await database.one("select clock_timestamp() as now")
    assert row is not None
    with pytest.raises(books.AsOfNotSettled):
        await balances_at(database, merchant, row["now"])
    # Without as_of the latest settled instant is used: before the long transaction began.
    early = await balances_at(database, merchant, None)
    assert (early.liability, early.as_of < row["now"]) == (8000, True)
    await running.commit()
    then = await balances_at(database, merchant, row["now"])
    assert then.liability == 8000 - 103
    assert await balances_at(database, merchant, early.as_of) == early
    await ledger.post(redemption(merchant, cards[0], 1))
    assert await balances_at(database, merchant, row["now"]) == then


async def test_the_recorded_start_of_a_transaction_is_never_too_late(elsewhere: Any) -> None:
    for _ in range(50):
        async with elsewhere.transaction():
            now = await elsewhere.fetchrow("select begin_money(), clock_timestamp() as then")
            assert await elsewhere.fetchval("select oldest_money()") <= now["then"]


async def test_a_balance_waits_for_a_card_that_is_being_issued(
    elsewhere: Any, owner: Any, database: Database
) -> None:
    merchant = await calls.make_merchant(owner)
    program = await calls.make_program(owner, merchant)
    running = elsewhere.transaction()
    await running.start()
    await calls.issue(elsewhere, merchant, program, [ids.new_id()], [100], activate=[True])
    row = await database.one("select clock_timestamp() as now")
    assert row is not None
    with pytest.raises(books.AsOfNotSettled):
        await balances_at(database, merchant, row["now"])
    await running.commit()
    then = await balances_at(database, merchant, row["now"])
    assert then.liability == 100


@pytest.mark.slow
async def test_balances_under_load_never_change_afterwards(
    ledger: Ledger, database: Database, shop: tuple[UUID, list[UUID]]
) -> None:
    merchant, cards = shop
    # The number of reads, one each second.
    until = time.monotonic() + 2
    seen: list[books.Balances] = []

    def over() -> bool:
        return time.monotonic() > until + 60 or (time.monotonic() > until and len(seen) > 10)

    async def move(card: UUID) -> None:
        while not over():
            await ledger.post(redemption(merchant, card, op="load"))

    async def look() -> None:
        while not over():
            row = await database.one("select clock_timestamp() as now")
            assert row is not None
            seen.append(await balances_at(database, merchant, row["now"]))

    await asyncio.gather(*(move(card) for card in cards), look(), look())
    assert len(seen) > 10
    for answer in seen:
        again = await books.read_balances(
            database, database, merchant, as_of=answer.as_of, currency=None
        )
        assert again == answer


async def test_one_bad_item_does_not_fail_its_neighbours(
    ledger: Ledger, shop: tuple[UUID, list[UUID]]
) -> None:
    """An item for which the database raises an error fails alone."""
    merchant, cards = shop
    bad = redemption(merchant, cards[0])
    bad.metadata = "{this is not JSON"
    answers = await asyncio.gather(
        ledger.post(bad),
        *(ledger.post(redemption(merchant, card)) for card in cards[1:]),
        return_exceptions=True,
    )
    assert isinstance(answers[0], asyncpg.PostgresError)
    assert not isinstance(answers[0], Refusal)
    assert all(isinstance(answer, PostResult) for answer in answers[1:])


async def balances_at(database: Database, merchant: UUID, as_of: datetime | None) -> books.Balances:
    return await books.read_balances(database, database, merchant, as_of=as_of, currency=None)
