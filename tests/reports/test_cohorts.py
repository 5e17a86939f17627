"""Cohorts and attention: the sums of all years are what the ledger owes at each instant; counts are
those of the tables, and read a bounded number of rows.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.reports import attention
from florin.reports.attention import AttentionReports
from florin.reports.cohorts import SOLD, CohortReports
from florin.reports.kept_answers import KeptAnswers
from florin.reports.report_runner import ReportRunner
from tests.conftest import Urls
from tests.orders.selling import buy
from tests.support.api_calls import issue, made, read, redeem
from tests.support.instance import Shop
from tests.support.members import uuid_of


async def test_all_years_add_up_to_the_ledger_at_each_instant(
    http: httpx.AsyncClient, shop: Shop, owner: Any, urls: Urls, database: Database
) -> None:
    runner = ReportRunner(urls.app, name="tests")
    runner.database = database
    reports = CohortReports(runner)
    first, second = await issue(http, shop, 3000), await issue(http, shop, 2000)
    await owner.execute(
        "update florin.account set issued_at = '2020-02-02' where merchant = $1 and id = $2",
        shop.merchant,
        uuid_of("crd", first["id"]),
    )
    expected: dict[datetime, int] = {}

    async def note() -> None:
        now = await read(http, "/ledger/balances")
        expected[datetime.fromisoformat(now["as_of"])] = now["liability"]

    await note()
    await redeem(http, first, 700)
    await note()
    await made(http, "/transfers", {"from": second["id"], "to": first["id"], "amount": 500})
    await note()
    await made(http, "/loads", {"card": second["id"], "amount": 250})
    await note()
    assert len(set(expected.values())) == 3
    for at, owed in expected.items():
        cohorts = await reports.at(shop.merchant, "EUR", at)
        assert sum(each.owed for each in cohorts) == owed
        assert [each.year for each in cohorts[1:]] == [2020]
    newest, oldest = await reports.at(shop.merchant, "EUR", None)
    assert (oldest.owed, oldest.cards, oldest.change(*SOLD)) == (2800, 1, 3000)
    assert (newest.owed, newest.cards, newest.change(*SOLD)) == (1750, 1, 2000)
    assert await reports.at(shop.merchant, "USD", None) == []


async def test_instants_of_a_month_keep_whole_months_only(
    http: httpx.AsyncClient, shop: Shop, urls: Urls, database: Database
) -> None:
    await issue(http, shop, 3000)
    runner = ReportRunner(urls.app, name="tests")
    runner.database = database
    reports = CohortReports(runner)
    for _ in range(2):
        await reports.at(shop.merchant, "EUR", datetime.now(UTC))
    kept = reports._sums._kept  # pyright: ignore[reportPrivateUsage]
    assert all(ends.day == 1 and not ends.microsecond for _, _, _, ends in kept)
    async with runner.turn(shop.merchant):
        waits = asyncio.ensure_future(reports.at(shop.merchant, "EUR", None))
        done, _ = await asyncio.wait([waits], timeout=0.5)
        assert not done
    assert len(await waits) == 1


async def add_delivery(owner: Any, merchant: UUID, state: str, delivery: UUID) -> None:
    await owner.execute(
        "insert into florin.delivery (merchant, id, cause, kind, channel, state, address, due_at)"
        " values ($1, $2, $3, 'gift', 'email', $4, 'a@example.com', clock_timestamp())",
        merchant,
        delivery,
        str(delivery),
        state,
    )


async def add_endpoint(owner: Any, merchant: UUID, endpoint: UUID) -> None:
    await owner.execute(
        "insert into florin.webhook_endpoint (merchant, id, url, events, secret_sealed, lane,"
        " cursor_at, cursor_event, made_by) values ($1, $2, 'https://example.com', '{*}', '', 0,"
        " clock_timestamp(), $2, 'test')",
        merchant,
        endpoint,
    )


async def add_webhooks(
    owner: Any, merchant: UUID, endpoint: UUID, *, tried: int, never: int
) -> None:
    await owner.execute(
        "insert into florin.webhook_delivery (merchant, id, endpoint, event, type, attempts,"
        " next_at, give_up_at) select $1, gen_random_uuid(), $2, gen_random_uuid(), 'card.issued',"
        " (n <= $3::int)::int, clock_timestamp() + (n <= $3::int)::int * interval '1 hour',"
        " clock_timestamp() + interval '2 days' from generate_series(1, $3::int + $4::int) n",
        merchant,
        endpoint,
        tried,
        never,
    )


async def test_counts_are_of_the_latest_and_bounded(
    shop: Shop, owner: Any, database: Database
) -> None:
    merchant = shop.merchant
    for state in ("bounced", "failed", "delivered"):
        await add_delivery(owner, merchant, state, ids.new_id())
    long_ago = UUID(int=(1_600_000_000_000 << 80) | (uuid4().int & ((1 << 80) - 1)))
    await add_delivery(owner, merchant, "bounced", long_ago)
    endpoint = uuid4()
    await add_endpoint(owner, merchant, endpoint)
    # A backlog of deliveries that were never sent hides no repeated one.
    await add_webhooks(owner, merchant, endpoint, tried=2500, never=5000)
    found = await AttentionReports(database).of(merchant, "EUR")
    assert found is not None
    assert (found.undelivered, found.webhooks) == (2, attention.COUNTED_MAX)
    assert (found.reviews, found.disputes, found.expiring, found.expiring_owed) == (0, 0, 0, 0)


async def most_rows_read(database: Database, merchant: UUID) -> float:
    """By one scan of the counts, those that a filter drops included."""
    sql = attention._COUNTS  # pyright: ignore[reportPrivateUsage]
    [row] = await database.all(f"explain (analyze, format json) {sql}", merchant, "EUR")
    most = 0.0
    todo = [json.loads(row["QUERY PLAN"])[0]["Plan"]]
    while todo:
        node = todo.pop()
        todo.extend(node.get("Plans", ()))
        if "Relation Name" in node:
            dropped = node.get("Rows Removed by Filter", 0)
            most = max(most, (node["Actual Rows"] + dropped) * node["Actual Loops"])
    return most


async def test_what_is_not_counted_is_not_read_without_a_bound(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    """Spent cards, disputes that are over, deliveries that were never sent: many of each."""
    merchant, endpoint = shop.merchant, uuid4()
    payment = uuid_of("pay", (await buy(http, shop, 5000))["payment"])
    await owner.execute(
        "insert into florin.dispute (merchant, id, payment, gateway_ref, kind, state, amount,"
        " currency, created_at) select $1, lpad(to_hex(n), 32, '0')::uuid, $2, n::text,"
        " 'chargeback', 'won', 1, 'EUR', clock_timestamp() from generate_series(1000, 60000) n",
        merchant,
        payment,
    )
    await owner.execute(
        "insert into florin.account (merchant, id, program, currency, state, partial, code_hash,"
        " face, expires_at) select $1, lpad(to_hex(n), 32, '0')::uuid, $2, 'EUR', 'active', true,"
        " sha256(n::text::bytea), 1, clock_timestamp() + n * interval '1 second'"
        " from generate_series(1000, 60000) n",
        merchant,
        uuid_of("prg", shop.program),
    )
    await add_endpoint(owner, merchant, endpoint)
    await add_webhooks(owner, merchant, endpoint, tried=0, never=60_000)
    for table in ("account", "dispute", "webhook_delivery"):
        await owner.execute(f"analyze florin.{table}")
    assert 1000 <= await most_rows_read(database, merchant) <= 5000
    found = await AttentionReports(database).of(merchant, "EUR")
    assert found is not None
    assert (found.webhooks, found.expiring, found.expiring_more) == (0, 0, True)


async def test_of_one_answer_one_reading_runs_at_a_time() -> None:
    begun, failing = 0, True

    async def read(*_: object) -> int:
        nonlocal begun
        begun += 1
        number = begun
        await asyncio.sleep(0.05)
        assert begun == number, "another reading began meanwhile"
        if failing:
            raise OSError
        return begun

    kept = KeptAnswers(read)
    merchant = uuid4()
    failed = await asyncio.gather(
        *(kept.find(merchant, "EUR") for _ in range(2)), return_exceptions=True
    )
    assert [type(each) for each in failed] == [OSError, OSError]
    failing = False
    assert await asyncio.gather(*(kept.find(merchant, "EUR") for _ in range(5))) == [3] * 5
