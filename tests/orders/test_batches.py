"""Batches: what is ordered and paid at the same time shares a transaction, and each order ends as
it would alone.
"""

import asyncio
from typing import Any

import httpx
import msgspec

from florin.kit import ids
from florin.kit.observability.context import bind_work
from florin.kit.postgres.database import Database
from florin.orders.checkout import PlacedOrder
from florin.orders.order import OrderRequest
from florin.orders.order_rows import OrderOrigin
from florin.orders.payment_attempts import read_payment_row
from florin.orders.services import OrderServices
from florin.payments.gateway import PaymentRow, Seen
from florin.payments.gateways.test_payments import Outcome, TestPayments
from tests.conftest import Urls
from tests.orders.selling import accounts, explained, order_body
from tests.orders.test_orders import selling
from tests.support.api_calls import Json, balanced, made, read
from tests.support.connections import connected
from tests.support.instance import Shop
from tests.support.waiting import until

TOGETHER = 12


async def order_at_once(
    services: OrderServices, shop: Shop, bodies: list[Json], keys: list[str | None]
) -> list[PlacedOrder | BaseException]:
    origin = OrderOrigin(shop.merchant, "tests", "https://florin.example")
    return await asyncio.gather(
        *(
            services.checkout.place_order(origin, msgspec.convert(body, OrderRequest), key=key)
            for body, key in zip(bodies, keys, strict=True)
        ),
        return_exceptions=True,
    )


async def ordered(services: OrderServices, shop: Shop, count: int) -> list[str]:
    """The payments of new orders."""
    bodies = [order_body(shop, 1000 + n) for n in range(count)]
    found = await order_at_once(services, shop, bodies, [None] * count)
    return [each.order.payment for each in found if isinstance(each, PlacedOrder)]


def paid(row: PaymentRow, **other: Any) -> Seen:
    said: Json = {
        "state": "paid",
        "reference": row.reference,
        "capture_ref": f"c{row.id.hex}",
        "amount": row.amount,
        "currency": row.currency,
        "real_money": False,
        "ours": row.id,
    }
    return Seen(**{**said, **other})


async def transactions(owner: Any, shop: Shop, table: str) -> int:
    count: int = await owner.fetchval(
        f"select count(distinct xmin::text) from florin.{table} where merchant = $1",  # noqa: S608
        shop.merchant,
    )
    return count


async def test_orders_at_once_share_a_transaction(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """Each with its number, its answer and its refusal."""
    services, _ = selling(database)
    bodies = [order_body(shop, 1000 + n) for n in range(TOGETHER)]
    unknown: Json = {"program": ids.show_id("prg", ids.NONE), "amount": 1000}
    bodies += [order_body(shop, items=[unknown]), order_body(shop, 1000), order_body(shop, 7777)]
    keys: list[str | None] = [f"together-{n}" for n in range(TOGETHER)]
    keys += ["refused", "together-0", "together-1"]
    found = await order_at_once(services, shop, bodies, keys)
    alone = found[TOGETHER:]
    placed = [each for each in found[:TOGETHER] if isinstance(each, PlacedOrder)]
    assert [each.order.amount for each in placed] == [1000 + n for n in range(TOGETHER)]
    assert sorted(each.order.number for each in placed) == list(range(1, TOGETHER + 1))
    assert all(each.order.pay_url and not each.replayed for each in placed)
    assert [type(each).__name__ for each in alone] == [
        "ProgramNotFound",
        "PlacedOrder",
        "IdempotencyKeyReused",
    ]
    again = alone[1]
    assert isinstance(again, PlacedOrder)
    assert again.replayed
    assert again.order.id == placed[0].order.id
    assert await transactions(owner, shop, "order_item") == 1
    assert len((await read(http, "/orders", limit=100))["data"]) == TOGETHER
    kinds = [each["type"] for each in (await read(http, "/events", limit=100))["data"]]
    assert kinds.count("order.placed") == TOGETHER


async def test_payments_at_once_share_a_transaction(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """What is not plain is settled alone, and one that fails takes none with it."""
    services, sealer = selling(database)
    payments = [ids.require_id("pay", each) for each in await ordered(services, shop, TOGETHER)]
    rows = [await read_payment_row(database, sealer, shop.merchant, each) for each in payments]
    seen = [paid(row) for row in rows]
    seen[2] = paid(rows[2], amount=1)
    seen[3] = paid(rows[3], state="failed")
    seen[4] = paid(rows[4], fee=30)

    async def settle(n: int) -> None:
        bind_work(f"request-{n}")
        await services.settlement.settle(rows[n], seen[n], real_money=False)

    await asyncio.gather(*(settle(n) for n in range(TOGETHER)), settle(5), settle(6))
    states = {
        row["payment"]: row["state"]
        for row in await owner.fetch(
            "select p.id as payment, o.state from florin.orders o join florin.payment p"
            " on p.merchant = o.merchant and p.orders = o.id where o.merchant = $1",
            shop.merchant,
        )
    }
    assert [states[payment] for payment in payments] == [
        *("fulfilled", "fulfilled", "review", "placed"),
        *("fulfilled" for _ in range(4, TOGETHER)),
    ]
    cards = (await read(http, "/cards", limit=100))["data"]
    assert sorted(card["balance"] for card in cards) == sorted(
        row.amount for n, row in enumerate(rows) if n not in {2, 3}
    )
    assert await transactions(owner, shop, "order_card") == 1
    jobs = await owner.fetch(
        "select trace from florin.outbox where merchant = $1 and queue = 'email-delivery'"
        " union all select trace from florin.queue_job where queue = 'email-delivery'",
        shop.merchant,
    )
    assert {job["trace"] for job in jobs} == {f"request-{n}" for n in range(TOGETHER)} - {
        "request-2",
        "request-3",
    }
    value = sum(card["balance"] for card in cards)
    assert await accounts(http) == {
        "card": -value,
        "gateway_clearing": value + 1 - 30,
        "gateway_fees": 30,
        "refunds_pending": -1,
    }
    await explained(owner, shop)
    await balanced(http)


async def test_one_that_cannot_be_settled_takes_none_with_it(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """R7, R24: two payments that name one capture at the gateway: one is settled."""
    services, sealer = selling(database)
    payments = [ids.require_id("pay", each) for each in await ordered(services, shop, 4)]
    rows = [await read_payment_row(database, sealer, shop.merchant, each) for each in payments]
    seen = [paid(row) for row in rows]
    seen[1] = paid(rows[1], capture_ref=f"c{rows[0].id.hex}")
    answers = await asyncio.gather(
        *(
            services.settlement.settle(row, each, real_money=False)
            for row, each in zip(rows, seen, strict=True)
        ),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 3
    assert type(answers[0] or answers[1]).__name__ == "UniqueViolationError"
    assert len((await read(http, "/cards"))["data"]) == 3
    await explained(owner, shop)
    await balanced(http)


async def test_settlers_of_one_payment_wait_at_its_row(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any, urls: Urls
) -> None:
    """R1: two processes settle a payment whose order is in use; the second one finds it paid."""
    pair = [selling(database) for _ in range(2)]
    services, sealer = pair[0]
    payment = ids.require_id("pay", (await ordered(services, shop, 1))[0])
    row = await read_payment_row(database, sealer, shop.merchant, payment)
    async with connected(urls.superuser) as admin:

        async def both_wait() -> bool:
            count = await admin.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
            return bool(count == 2)

        async with owner.transaction():
            await owner.execute(
                "select from florin.orders where merchant = $1 for update", shop.merchant
            )
            both = [
                asyncio.ensure_future(
                    each.settlement.settle(row, paid(row, fee=30), real_money=False)
                )
                for each, _ in pair
            ]
            await until(both_wait)
        await asyncio.gather(*both)
    assert len((await read(http, "/cards"))["data"]) == 1
    await explained(owner, shop)
    await balanced(http)


async def test_a_top_up_is_settled_next_to_new_cards(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    """A card that is closed meanwhile is no reason to review the orders of others."""
    services, sealer = selling(database)
    card = await made(http, "/cards", {"program": shop.program, "amount": 5000})
    item = {"program": shop.program, "amount": 700, "card": card["id"]}
    bodies = [order_body(shop), order_body(shop, items=[item]), order_body(shop)]
    placed = await order_at_once(services, shop, bodies, [None] * 3)
    payments = [
        ids.require_id("pay", each.order.payment)
        for each in placed
        if isinstance(each, PlacedOrder)
    ]
    rows = [await read_payment_row(database, sealer, shop.merchant, each) for each in payments]
    await made(http, f"/cards/{card['id']}/block", status=200)
    await asyncio.gather(
        *(services.settlement.settle(row, paid(row), real_money=False) for row in rows)
    )
    orders = (await read(http, "/orders"))["data"]
    assert sorted(order["state"] for order in orders) == ["fulfilled", "fulfilled", "review"]
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5000
    await explained(owner, shop)


async def test_choices_at_once_follow_each_other(shop: Shop, database: Database) -> None:
    """The first that pays counts; what comes later in the same moment does not undo it."""
    services, _ = selling(database)
    found = await order_at_once(services, shop, [order_body(shop)] * 2, [None] * 2)
    tokens = [
        each.order.pay_url.rpartition("/")[2]
        for each in found
        if isinstance(each, PlacedOrder) and each.order.pay_url
    ]
    payments = TestPayments(database)
    chosen: list[tuple[str, Outcome]] = [
        (tokens[0], "declined"),
        (tokens[1], "paid"),
        (tokens[0], "paid"),
        (tokens[1], "expired"),
        (tokens[0], "declined"),
    ]
    rows = await asyncio.gather(*(payments.decide(*each) for each in chosen))
    assert [row["counts"] for row in rows] == [True, True, True, False, False]
