"""Cohorts and attention: the sums of all years are what the ledger owes at each instant; counts are
those of the tables, and read a bounded number of rows.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.reports import attention
from florin.reports.attention import AttentionReports
from florin.reports.cohorts import SOLD, CohortReports
from tests.support.api_calls import issue, made, read, redeem
from tests.support.instance import Shop
from tests.support.members import uuid_of


async def test_all_years_add_up_to_the_ledger_at_each_instant(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    reports = CohortReports(database)
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


async def add_delivery(owner: Any, merchant: UUID, state: str, delivery: UUID) -> None:
    await owner.execute(
        "insert into florin.delivery (merchant, id, cause, kind, channel, state, address, due_at)"
        " values ($1, $2, $3, 'gift', 'email', $4, 'a@example.com', clock_timestamp())",
        merchant,
        delivery,
        str(delivery),
        state,
    )


async def test_counts_are_of_the_latest_and_bounded(
    shop: Shop, owner: Any, database: Database
) -> None:
    merchant = shop.merchant
    for state in ("bounced", "failed", "delivered"):
        await add_delivery(owner, merchant, state, ids.new_id())
    long_ago = UUID(int=(1_600_000_000_000 << 80) | (uuid4().int & ((1 << 80) - 1)))
    await add_delivery(owner, merchant, "bounced", long_ago)
    await owner.execute(
        "insert into florin.webhook_delivery (merchant, id, endpoint, event, type, attempts,"
        " next_at, give_up_at) select $1, gen_random_uuid(), $2, gen_random_uuid(), 'card.issued',"
        " n % 2, clock_timestamp() + interval '1 day', clock_timestamp() + interval '2 days'"
        " from generate_series(1, 2500) n",
        merchant,
        uuid4(),
    )
    found = await AttentionReports(database).of(merchant, "EUR")
    assert (found.undelivered, found.webhooks) == (2, attention.COUNTED_MAX)
    assert (found.reviews, found.disputes, found.expiring, found.expiring_owed) == (0, 0, 0, 0)
