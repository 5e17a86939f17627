"""Throttle: a long job runs at full speed alone, and slowly while requests move money."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest

from florin.cards.jobs import bulk_issue
from florin.cards.jobs.throttle import LEAST, MOST, JobThrottle
from florin.kit import ids
from florin.kit.postgres.database import Database, open_connection
from florin.kit.queue.enqueue import NewJob, enqueue_now
from tests.cards.jobs.test_bulk_issue import ask, finished
from tests.conftest import Urls
from tests.ledger.calls import issue, post
from tests.ledger.model import Op
from tests.support.instance import Shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient
CARDS = 4_000


async def sell(http: Client, shop: Shop) -> str:
    body = {"program": shop.program, "amount": 50_000}
    answer = await http.post("/cards", json=body, headers={"idempotency-key": str(ids.new_id())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


async def redeem(http: Client, code: str) -> None:
    body = {"code": code, "amount": 1, "currency": "EUR"}
    answer = await http.post(
        "/redemptions", json=body, headers={"idempotency-key": str(ids.new_id())}
    )
    assert answer.status_code == 201, answer.text


async def test_a_long_job_slows_down_while_requests_arrive(
    http: Client, shop: Shop, owner: Any, database: Database
) -> None:
    async def look() -> tuple[float, int]:
        return await pace.pause_s(1), pace.size

    code = await sell(http, shop)
    pace = JobThrottle(database, bulk_issue.QUEUE)
    assert await look() == (4, LEAST), "a new job assumes that requests arrive"
    assert await look() == (0.1, 2 * LEAST)
    assert await look() == (0.1, 4 * LEAST)
    await redeem(http, code)
    assert await look() == (4, LEAST)
    assert await look() == (0.1, 2 * LEAST)
    await sell(http, shop)
    assert await look() == (4, LEAST)
    assert [await look() for _ in range(6)][-1] == (0.1, MOST)

    card, program = ids.new_id(), ids.parse_id("prg", shop.program)
    assert program is not None
    await issue(owner, shop.merchant, program, [card], [500], activate=[True])
    end = Op(kind="expire", merchant="m", id=ids.new_id(), card=card)
    await post(owner, {"m": shop.merchant}, [end])
    assert await look() == (0.1, MOST), "the cards of jobs do not count as requests"


async def test_concurrent_jobs_pause_in_proportion_to_their_number(
    database: Database, owner: Any
) -> None:
    await owner.execute("delete from florin.queue_job")
    async with database.transaction() as tx:
        await enqueue_now(tx, *(NewJob(queue=bulk_issue.QUEUE, kind="issue") for _ in range(3)))
    await owner.execute("update florin.queue_job set state = 1, fence = id")
    assert await JobThrottle(database, bulk_issue.QUEUE).pause_s(1) == 12
    assert await JobThrottle(database, "gift-card-expiry").pause_s(1) == 4
    await owner.execute("delete from florin.queue_job")


@pytest.mark.slow
async def test_a_worker_commits_small_chunks_while_requests_arrive(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    async def spend() -> None:
        while True:
            await redeem(http, code)

    async def sizes(key: str) -> list[int]:
        """The number of cards of each transaction."""
        job = (await ask(http, shop, CARDS, key)).json()["id"]
        await finished(http, job)
        rows = await owner.fetch(
            "select part_number from florin.job_code_export where job = $1 order by part_number",
            ids.parse_id("job", job),
        )
        ends = [*(row["part_number"] for row in rows), CARDS]
        return [end - begun for begun, end in itertools.pairwise(ends)]

    code = await sell(http, shop)
    workers.start()
    alone = await sizes("pace-alone")
    assert max(alone) == MOST, alone
    spending = asyncio.create_task(spend())
    busy = await sizes("pace-busy")
    spending.cancel()
    assert sorted(busy)[len(busy) // 2] == LEAST, busy
    assert (sum(alone), sum(busy)) == (CARDS, CARDS)


async def test_a_job_analyzes_tables_that_have_grown(
    http: Client, shop: Shop, urls: Urls, workers: Crew
) -> None:
    superuser = await open_connection(urls.superuser, name="tests")
    try:
        await superuser.execute("alter table florin.card set (autovacuum_enabled = false)")
        workers.start()
        await finished(http, (await ask(http, shop, 600, "pace-filled")).json()["id"])

        async def counted() -> bool:
            return await superuser.fetchval(
                "select pg_stat_get_live_tuples('florin.card'::regclass) >= 600"
            )

        await until(counted)
        await superuser.execute("update pg_class set reltuples = 1 where relname = 'card'")
        await finished(http, (await ask(http, shop, 1, "pace-grown")).json()["id"])
        known = await superuser.fetchval("select reltuples from pg_class where relname = 'card'")
        assert known >= 600
    finally:
        await superuser.close()
