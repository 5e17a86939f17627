"""Money to card exactly once: Stripe and PayPal lose, repeat and reorder webhooks, drop answers and
are away, while API, worker and, in the long form, PostgreSQL are killed. Judged by the gateways'
own records and the ledger.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.orders.selling import accounts, explained
from tests.payments import test_paypal, test_stripe
from tests.support import paypal_server, postgres_server, stripe_server
from tests.support.api_calls import Json, balanced, key
from tests.support.connections import connected
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of
from tests.support.paypal_server import PayPalServer
from tests.support.stripe_server import FEE, StripeServer
from tests.support.waiting import until

AT_ONCE = 8
ORDERS_A_KILL = 100  # of the API and of the worker, spread over the orders
PAYPAL_FEE = 175
AWAY_S = 1.0  # a gateway, after each kill


def gateway_of(number: int) -> str:
    return "stripe" if number % 3 else "paypal"


def pays(number: int) -> bool:
    """Whether the buyer of that order pays."""
    return number % 4 != 0


async def place(http: httpx.AsyncClient, shop: Shop, number: int) -> Json:
    """Place an order; repeat it with the same key until there is an answer."""
    body = {
        "items": [{"program": shop.program, "amount": 1000 + number}],
        "buyer": {"email": "buyer@example.com"},
        "gateway": gateway_of(number),
    }
    under = key(f"order-{number}")
    while True:
        with suppress(httpx.HTTPError):
            answer = await http.post("/orders", json=body, headers=under)
            if answer.status_code == 201 and answer.json()["pay_url"]:
                order: Json = answer.json()
                return order
            assert answer.status_code in {201, 503}, answer.text
        await asyncio.sleep(0.1)


async def buy(
    http: httpx.AsyncClient,
    shop: Shop,
    gateways: tuple[StripeServer, PayPalServer],
    chance: random.Random,
    number: int,
) -> Json:
    """One buyer: pays or does not, comes back or does not."""
    order = await place(http, shop, number)
    reference = order["pay_url"].rpartition("/")[2]
    stripe, paypal = gateways
    if pays(number):
        if gateway_of(number) == "stripe":
            await asyncio.to_thread(stripe.pay, reference)
        else:
            await asyncio.to_thread(paypal.approve, reference)
    for _ in range(chance.randrange(3)):
        with suppress(httpx.HTTPError):
            await http.get(order["url"])
    return {**order, "reference": reference, "number": number}


class DurableServer:
    """A PostgreSQL server that is killed: what it has answered is on the disk."""

    def __init__(self, server: postgres_server.Server) -> None:
        self.server = server
        self._process = server.process

    def kill_and_start(self) -> None:
        """`kill -9` of the postmaster, whose children end by themselves; then crash recovery."""
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + 60
        while True:
            try:
                self._process, _ = postgres_server.start(
                    postgres_server.program(), self.server.data, self.server.port
                )
            except AssertionError:  # its shared memory is in use until the last child has ended
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        postgres_server.stop(self._process)


@pytest.fixture(scope="module")
def durable(request: pytest.FixtureRequest) -> Iterator[DurableServer | None]:
    """A server that may be killed; none in the short form, which shares the server of all tests."""
    if int(str(request.config.getoption("--orders"))) < ORDERS_A_KILL:
        yield None
        return
    with postgres_server.server(postgres_server.program(), durable=True) as server:
        made_ = DurableServer(server)
        try:
            yield made_
        finally:
            made_.stop()


@pytest.fixture(scope="module")
async def urls(durable: DurableServer | None, template: postgres_server.Server) -> Urls:
    at = template
    if durable is not None:
        at = durable.server
        await postgres_server.make_template(at)
    name = f"faults_{uuid.uuid4().hex[:8]}"
    await postgres_server.make_database(at, name)
    return Urls(at.url("florin_app", name), at.url("florin_owner", name), at.url("postgres", name))


async def kill_parts(
    api: Instance,
    workers: Any,
    durable: DurableServer | None,
    gateways: tuple[StripeServer, PayPalServer],
    settings: dict[str, str],
    progress: list[int],
    count: int,
) -> None:
    """Kill the worker, then the API, then PostgreSQL, whenever another share of the buyers is done,
    in the middle of what the others do; start them again. Then one of the gateways is away.
    """
    worker = workers.start(**settings)
    kills = max(count // ORDERS_A_KILL, 1)
    for kill in range(kills):
        share = count * (kill + 1) // (kills + 2)
        await until(lambda share=share: len(progress) >= share, within_s=1200)
        workers.kill(worker)
        worker = workers.start(**settings)
        api.kill()
        await asyncio.to_thread(api.start)
        if durable is not None:
            await asyncio.to_thread(durable.kill_and_start)
        away = gateways[kill % 2]
        away.away = True
        await asyncio.sleep(AWAY_S)
        away.away = False


@pytest.mark.slow
async def test_every_paid_order_has_its_cards_once(
    urls: Urls,
    durable: DurableServer | None,
    shop: Shop,
    workers: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Long form: `bin/test --long payments`, 1,000 orders."""
    count = int(str(request.config.getoption("--orders")))
    seed = int(str(request.config.getoption("--seed") or 1))
    chance = random.Random(seed)
    with stripe_server.stripe_server() as stripe, paypal_server.paypal_server() as paypal:
        settings = {**test_stripe.variables(stripe), **test_paypal.variables(paypal)}
        database = f"{urls.app}?connection_limit=10&pool_timeout=20"
        with instance(database, **settings) as api:
            for server, name in ((stripe, "stripe"), (paypal, "paypal")):
                server.webhook_url = f"{api.base}/api/v1/hooks/{name}/default"
                server.chaos, server.delay_s = random.Random(seed), 1.0
            async with client_of(api, **shop.headers) as http:
                progress: list[int] = []
                killer = asyncio.create_task(
                    kill_parts(api, workers, durable, (stripe, paypal), settings, progress, count)
                )
                slots = asyncio.Semaphore(AT_ONCE)

                async def one(number: int) -> Json:
                    async with slots:
                        order = await buy(http, shop, (stripe, paypal), chance, number)
                        progress.append(number)
                        return order

                orders = await asyncio.gather(*(one(number) for number in range(count)))
                await killer
                for server in (stripe, paypal):
                    server.chaos, server.copies = None, 0  # what was lost is found by looking
                    await asyncio.to_thread(server.settle_webhooks)
                async with connected(urls.owner) as owner:
                    await judge(http, owner, shop, (stripe, paypal), orders)


async def judge(
    http: httpx.AsyncClient,
    owner: Any,
    shop: Shop,
    gateways: tuple[StripeServer, PayPalServer],
    orders: list[Json],
) -> None:
    """Compare the gateways' records with the orders, the cards and the books."""
    stripe, paypal = gateways
    made = {each["id"] for each in stripe.all_of("checkout.session")} | set(paypal.orders)
    assert made == {order["reference"] for order in orders}, "one object for each order"
    paid = [order for order in orders if pays(order["number"])]
    await owner.execute(
        "update florin.payment set look_due = clock_timestamp() where state in ('created', 'open')"
    )
    await owner.execute(
        "insert into florin.queue_job (queue, kind, payload) values ('payments', 'due', '{}')"
    )

    async def settled() -> bool:
        return len(paid) == await owner.fetchval(
            "select count(*) from florin.orders where merchant = $1 and state = 'fulfilled'",
            shop.merchant,
        )

    await until(settled, within_s=120)
    rows = await owner.fetch(
        "select o.id, o.state, o.amount, count(c.card) as cards,"
        " coalesce(sum(a.balance), 0) as value,"
        " (select count(*) from florin.delivery d where d.merchant = o.merchant"
        "  and d.card = any(array_agg(c.card))) as deliveries"
        " from florin.orders o join florin.order_item i on i.merchant = o.merchant"
        " and i.orders = o.id left join florin.order_card c on c.merchant = i.merchant"
        " and c.item = i.id left join florin.account a on a.merchant = c.merchant and a.id = c.card"
        " where o.merchant = $1 group by o.merchant, o.id, o.state, o.amount",
        shop.merchant,
    )
    assert len(rows) == len(orders)
    for row in rows:
        there = (row["state"], row["cards"], row["value"], row["deliveries"])
        assert there in {("fulfilled", 1, row["amount"], 1), ("placed", 0, 0, 0)}, dict(row)
    assert len(paid) == await owner.fetchval(
        "select count(*) from florin.account where merchant = $1", shop.merchant
    ), "no card without an order"
    assert len(paid) == await owner.fetchval(
        "select count(*) from florin.delivery d join florin.orders o on o.merchant = d.merchant"
        " and d.cause = 'receipt:' || replace(o.id::text, '-', '')"
        " where d.merchant = $1 and o.state = 'fulfilled'",
        shop.merchant,
    ), "one receipt for each paid order"
    collected = [
        each["amount_total"]
        for each in stripe.all_of("checkout.session")
        if each["payment_status"] == "paid"
    ]
    captures = [
        capture
        for order in paypal.orders.values()
        for capture in order["purchase_units"][0].get("payments", {}).get("captures", [])
    ]
    assert len(collected) + len(captures) == len(paid)
    money = sum(collected) + sum(
        int(capture["amount"]["value"].replace(".", "")) for capture in captures
    )
    fees = FEE * len(collected) + PAYPAL_FEE * len(captures)
    assert await accounts(http) == {
        "card": -money, "gateway_clearing": money - fees, "gateway_fees": fees,
    }  # fmt: skip
    assert await owner.fetchval(
        "select count(*) from florin.event where merchant = $1 and type = 'order.fulfilled'",
        shop.merchant,
    ) == len(paid)
    await explained(owner, shop)
    await balanced(http)
    answered = [*stripe.answers, *paypal.answers]
    print(f"\n{len(orders)} orders, {len(paid)} paid, {answered.count(200)} webhooks answered")
