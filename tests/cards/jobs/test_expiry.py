"""Expiry: due cards expire once, by the merchant's day, even when a worker is interrupted."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import NewJob, enqueue_now
from tests.ledger.calls import issue, make_merchant, make_program, post
from tests.ledger.model import Op
from tests.support.waiting import until
from tests.support.workers import Crew

SWEEP = NewJob(queue="gift-card-expiry", kind="sweep")


async def cards(
    connection: Any, number: int, *, amount: int = 100, test: bool = True, zone: str = "UTC"
) -> tuple[UUID, list[UUID]]:
    merchant = await make_merchant(connection, test=test, zone=zone)
    program = await make_program(connection, merchant, months=1)
    made = [ids.new_id() for _ in range(number)]
    await issue(connection, merchant, program, made, [amount] * number, activate=[True] * number)
    return merchant, made


async def later(connection: Any, merchant: UUID, by: timedelta) -> None:
    await connection.execute(
        "update florin.merchant set clock_offset = $2 where id = $1", merchant, by
    )


async def states(connection: Any, merchant: UUID) -> dict[str, int]:
    rows = await connection.fetch(
        "select state, count(*) n from florin.account where merchant = $1 group by 1", merchant
    )
    return {row["state"]: row["n"] for row in rows}


async def proof(connection: Any, merchant: UUID) -> Any:
    """From outside: every card's entries add up to its balance; breakage has what cards lost."""
    return await connection.fetchrow(
        """
        select coalesce(sum(amount) filter (where kind = 'expire'), 0)::bigint as breakage,
          count(*) filter (where kind = 'expire') as entries,
          (select count(*) from florin.event e where e.merchant = $1 and e.type = 'card.expired')
            as events,
          (select count(*) from florin.account a where a.merchant = $1 and a.balance <>
            coalesce((select sum(case when t.credit_card = a.id then t.amount else -t.amount end)
              from florin.transfer t where t.merchant = $1 and a.id in (t.debit_card, t.credit_card)
            ), 0)) as wrong
        from florin.transfer where merchant = $1
        """,
        merchant,
    )


async def test_cards_expire_at_the_end_of_the_merchants_day(owner: Any, workers: Crew) -> None:
    merchant, made = await cards(owner, 3, zone="Pacific/Auckland")
    ends: datetime = await owner.fetchval(
        "select expires_at from florin.account where merchant = $1 and id = $2", merchant, made[0]
    )
    assert (
        await owner.fetchval("select ($1::timestamptz at time zone 'Pacific/Auckland')::time", ends)
        == datetime.min.time()
    )
    workers.start()
    await later(owner, merchant, ends - datetime.now(UTC) - timedelta(minutes=5))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _idle(owner))
    assert await states(owner, merchant) == {"active": 3}
    await later(owner, merchant, ends - datetime.now(UTC) + timedelta(seconds=1))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _all(owner, merchant, "expired", 3))
    found = await proof(owner, merchant)
    assert dict(found) == {"breakage": 300, "entries": 3, "events": 3, "wrong": 0}


async def test_an_interrupted_expiry_continues_and_nothing_expires_twice(
    owner: Any, workers: Crew
) -> None:
    merchant, _ = await cards(owner, 8000)
    await later(owner, merchant, timedelta(days=60))
    await enqueue_now(owner, SWEEP)
    for part in (1, 3000, 6000):
        worker = workers.start()
        await until(lambda: _at_least(owner, merchant, part))  # noqa: B023 -- awaited at once
        workers.kill(worker)
        # The next one need not wait for the lease here.
        await owner.execute("update florin.queue_job set lease_until = now() where state = 1")
    workers.start()
    await until(lambda: _all(owner, merchant, "expired", 8000), within_s=180)
    found = await proof(owner, merchant)
    assert dict(found) == {"breakage": 800_000, "entries": 8000, "events": 8000, "wrong": 0}


async def test_concurrent_jobs_expire_a_card_once(owner: Any, database: Database) -> None:
    merchant, _ = await cards(owner, 3000)
    await later(owner, merchant, timedelta(days=60))

    async def some() -> int:
        async with database.connection() as connection:
            row = await connection.fetchrow(
                "select * from expire_due($1, $2, 'florin')",
                merchant,
                [ids.new_id() for _ in range(500)],
            )
            return int(row["expired"])

    ended = await asyncio.gather(*(some() for _ in range(12)))
    assert sum(ended) == 3000
    found = await proof(owner, merchant)
    assert dict(found) == {"breakage": 300_000, "entries": 3000, "events": 3000, "wrong": 0}


async def test_expired_holds_are_released_and_open_ones_are_kept(owner: Any, workers: Crew) -> None:
    merchant, made = await cards(owner, 3, amount=1000)
    short, long, free = made
    day = 86_400
    for card, lives in ((short, 10 * day), (long, 300 * day)):
        (held,) = await post(
            owner,
            {"m": merchant},
            [Op(merchant="m", kind="hold", id=ids.new_id(), card=card, amount=400, currency="EUR",
                expires_in=lives)],
        )  # fmt: skip
        assert held["outcome"] == "ok"
    workers.start()
    await later(owner, merchant, timedelta(days=11))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _held(owner, merchant, 400))
    assert await states(owner, merchant) == {"active": 3}
    await later(owner, merchant, timedelta(days=60))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _all(owner, merchant, "expired", 3))
    found = await proof(owner, merchant)
    assert (found["breakage"], found["wrong"]) == (2600, 0)  # the open hold has its 400
    await later(owner, merchant, timedelta(days=301))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _held(owner, merchant, 0))
    found = await proof(owner, merchant)
    assert (found["breakage"], found["wrong"]) == (3000, 0)
    del free


async def test_money_returned_to_an_expired_card_is_breakage(owner: Any, workers: Crew) -> None:
    """A refund and the rest of a hold after expiry; a reinstated card gets all of it back."""
    merchant, (refunded, voided) = await cards(owner, 2, amount=1000)

    async def one(kind: str, **more: Any) -> Any:
        op = Op(merchant="m", kind=kind, id=ids.new_id(), **more)
        (row,) = await post(owner, {"m": merchant}, [op])
        assert row["outcome"] == "ok", row
        return row

    spent = await one("redeem", card=refunded, amount=700, currency="EUR")
    held = await one("hold", card=voided, amount=400, currency="EUR", expires_in=86_400 * 300)
    workers.start()
    await later(owner, merchant, timedelta(days=60))
    await enqueue_now(owner, SWEEP)
    await until(lambda: _all(owner, merchant, "expired", 2))
    assert (await proof(owner, merchant))["breakage"] == 300 + 600

    back = await one("refund", other=spent["id"], amount=500)
    assert (back["state"], back["balance"]) == ("expired", 500)
    await one("void", other=held["id"])
    await until(lambda: _broken(owner, merchant, 300 + 600 + 500 + 400))
    found = await proof(owner, merchant)
    assert (found["entries"], found["wrong"]) == (4, 0)
    left = await owner.fetchval(
        "select sum(balance) from florin.account where merchant = $1", merchant
    )
    assert left == 0
    again = await one("reinstate", card=refunded)
    assert again["balance"] == 800


async def _broken(owner: Any, merchant: UUID, amount: int) -> bool:
    return (await proof(owner, merchant))["breakage"] == amount


async def _idle(owner: Any) -> bool:
    return await owner.fetchval("select count(*) from florin.queue_job") == 0


async def _all(owner: Any, merchant: UUID, state: str, number: int) -> bool:
    return await states(owner, merchant) == {state: number}


async def _at_least(owner: Any, merchant: UUID, number: int) -> bool:
    return (await states(owner, merchant)).get("expired", 0) >= number


async def _held(owner: Any, merchant: UUID, amount: int) -> bool:
    total = await owner.fetchval(
        "select sum(held) from florin.account where merchant = $1", merchant
    )
    return total == amount
