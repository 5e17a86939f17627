"""Cards of disputes: which are blocked, for how long, and what is taken from them."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.errors import Overloaded
from florin.kit.postgres.database import Database, Tx
from florin.ledger.following import FOLLOWED_MAX, LEVELS, Value, follow_in
from florin.ledger.post import Posting, post_rows_in
from florin.orders.disputes import sync_disputes_in
from florin.orders.settlement import BUSY_ATTEMPTS
from tests.orders.selling import buy, choose, dashboard, place, said
from tests.orders.test_orders import settle_by
from tests.orders.test_refunds import card_of
from tests.support.api_calls import Json, balanced, issue, made, read, redeem
from tests.support.instance import Shop
from tests.support.waiting import until

_WAITING = "select count(*) from pg_locks where not granted"


async def move(http: httpx.AsyncClient, debit: Json, credit: Json, amount: int) -> None:
    body = {"from": debit["id"], "to": credit["id"], "amount": amount}
    await made(http, "/transfers", body)


async def state_of(http: httpx.AsyncClient, card: Json) -> str:
    found: str = (await read(http, f"/cards/{card['id']}"))["state"]
    return found


async def top_up(http: httpx.AsyncClient, shop: Shop, card: Json) -> Json:
    item = {"program": shop.program, "amount": 5000, "card": card["id"]}
    return await buy(http, shop, items=[item])


def transfer(shop: Shop, debit: Json, credit: Json, amount: int) -> Posting:
    return Posting(
        merchant=shop.merchant,
        op="transfer",
        card=ids.require_id("crd", debit["id"]),
        other=ids.require_id("crd", credit["id"]),
        amount=amount,
        actor="t",
        client=None,
    )


async def someone_waits(owner: Any) -> None:
    async def waits() -> bool:
        return bool(await owner.fetchval(_WAITING))

    await until(waits, within_s=10)


def counted_tries(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each transaction that settles disputes in this process."""
    tries: list[None] = []

    async def counted(*args: Any, **more: Any) -> None:
        tries.append(None)
        await sync_disputes_in(*args, **more)

    monkeypatch.setattr("florin.orders.settlement.sync_disputes_in", counted)
    return tries


async def test_a_chargeback_outlives_the_warning_before_it(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    """Stripe ends a fraud warning once there is a dispute."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    warning, charged = said("warning", "open"), said("chargeback", "open", withdrawn=5000)
    await settle_by(database, shop, order, disputes=(warning,))
    await settle_by(database, shop, order, disputes=(warning, charged))
    ended = said("warning", "closed")
    await settle_by(database, shop, order, disputes=(ended, charged))
    assert await state_of(http, card) == "blocked"
    await settle_by(database, shop, order, disputes=(ended, said("chargeback", "won")))
    assert await state_of(http, card) == "active"
    await balanced(http)


async def test_a_card_of_two_disputed_orders_waits_for_both(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 1000)
    orders = [await top_up(http, shop, card) for _ in range(2)]
    for order in orders:
        await dashboard(http, order, "dispute")
    await dashboard(http, orders[0], "win")
    assert await state_of(http, card) == "blocked"
    await dashboard(http, orders[1], "win")
    assert await state_of(http, card) == "active"


async def test_a_dispute_that_ends_waits_for_one_that_begins(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any
) -> None:
    card = await issue(http, shop, 1000)
    first, second = [await top_up(http, shop, card) for _ in range(2)]
    await settle_by(database, shop, first, disputes=(said("chargeback", "open"),))
    async with database.transaction() as tx:
        payment = await tx.one(
            "select * from florin.payment where merchant = $1 and id = $2 for no key update",
            shop.merchant,
            ids.require_id("pay", second["payment"]),
        )
        assert payment is not None
        opened = (said("chargeback", "open"),)
        await sync_disputes_in(tx, payment, opened, has_cards=True, actor="t")
        won = (said("chargeback", "won"),)
        ending = asyncio.create_task(settle_by(database, shop, first, disputes=won))
        await someone_waits(owner)
    await ending
    assert await state_of(http, card) == "blocked"
    await settle_by(database, shop, second, disputes=won)
    assert await state_of(http, card) == "active"


async def test_all_cards_of_an_order_stop(http: httpx.AsyncClient, shop: Shop) -> None:
    """The limit is for cards that value moved to."""
    item = {"program": shop.program, "amount": 100, "count": 100}
    order = await buy(http, shop, items=[item, item])
    await dashboard(http, order, "dispute")
    cards = [card for each in order["items"] for card in each["cards"]]
    [dispute] = (await read(http, "/disputes"))["data"]
    assert len(cards) == 2 * FOLLOWED_MAX
    assert set(dispute["cards"]) == set(cards)
    await dashboard(http, order, "lose")
    assert (await read(http, "/disputes"))["data"][0]["clawed"] == 20_000
    states = [(await read(http, f"/cards/{card}"))["state"] for card in cards]
    assert set(states) == {"closed"}
    await balanced(http)


async def test_value_that_moved_before_the_money_came_is_not_followed(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card, before, after, beyond = [await issue(http, shop, 3000) for _ in range(4)]
    await move(http, card, before, 2000)
    await move(http, after, beyond, 500)
    order = await top_up(http, shop, card)
    await move(http, card, after, 5000)
    await dashboard(http, order, "dispute")
    states = [await state_of(http, each) for each in (card, before, after, beyond)]
    assert states == ["blocked", "active", "blocked", "active"]
    await dashboard(http, order, "lose")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert dispute["clawed"] == 5000
    left = [(await read(http, f"/cards/{each['id']}"))["balance"] for each in (before, beyond)]
    assert left == [5000, 3500]


async def test_value_of_several_cards_is_taken_from_the_one_that_has_it(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await buy(http, shop, 2500, count=2)
    other = await issue(http, shop, 1000)
    for card in order["items"][0]["cards"]:
        for _ in range(2):
            await move(http, {"id": card}, other, 1250)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    assert (await read(http, "/disputes"))["data"][0]["clawed"] == 5000
    assert (await read(http, f"/cards/{other['id']}"))["balance"] == 1000


async def test_what_was_spent_is_not_taken_from_another_card(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await buy(http, shop, 5000)
    card, other = await card_of(http, order), await issue(http, shop, 1000)
    await move(http, card, other, 2000)
    await redeem(http, card, 3000)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert (dispute["clawed"], dispute["loss"]) == (2000, 3000)
    assert (await read(http, f"/cards/{other['id']}"))["balance"] == 1000


class CountingTx:
    """Counts the statements and rows that a transaction reads."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.statements = self.rows = 0

    async def all(self, sql: str, *args: object) -> Any:
        rows = await self._tx.all(sql, *args)
        self.statements += 1
        self.rows += len(rows)
        return rows


async def test_value_that_goes_to_and_fro_is_a_row_of_each_card(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    """40 transfers each way have 40^5 paths."""
    cards = [await issue(http, shop, 5000) for _ in range(3)]
    own = Value(ids.require_id("crd", cards[0]["id"]), 5000, 1)
    async with database.transaction() as tx:
        for n in range(40):
            ways = [transfer(shop, cards[n % 2], cards[1 - n % 2], 10) for _ in range(2)]
            on = [transfer(shop, cards[1], cards[2], 1), transfer(shop, cards[2], cards[1], 1)]
            rows = await post_rows_in(tx, [*ways, *on])
            assert {row["outcome"] for row in rows} == {"ok"}
        counting: Any = CountingTx(tx)
        found = await follow_in(counting, shop.merchant, [own])
    assert {each.card for each in found} == {
        ids.require_id("crd", card["id"]) for card in cards[1:]
    }
    assert counting.statements <= LEVELS
    assert counting.rows <= LEVELS * len(cards)


async def test_value_cannot_move_on_while_its_card_is_blocked(
    http: httpx.AsyncClient,
    shop: Shop,
    database: Database,
    owner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A card that is found too late is locked in its place, by the next try."""
    tries = counted_tries(monkeypatch)
    order = await buy(http, shop, 5000)
    card, other = await card_of(http, order), await issue(http, shop, 1000)
    async with database.transaction() as tx:
        await post_rows_in(tx, [transfer(shop, card, other, 4000)])
        opened = (said("chargeback", "open", withdrawn=5000),)
        opening = asyncio.create_task(settle_by(database, shop, order, disputes=opened))
        await someone_waits(owner)
    await opening
    assert await state_of(http, card) == "blocked"
    assert await state_of(http, other) == "blocked"
    assert len(tries) == 2


async def test_what_the_gateway_said_does_not_get_old(
    http: httpx.AsyncClient, shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a card is in use, the look is given up for another one; its page says nothing of it."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    other = await issue(http, shop, 1000)
    item = {"program": shop.program, "amount": 5000, "card": card["id"]}
    placed = await place(http, shop, items=[item])
    tries = counted_tries(monkeypatch)
    async with database.transaction() as tx:
        await post_rows_in(tx, [transfer(shop, card, other, 1)])
        opened = (said("chargeback", "open", withdrawn=5000),)
        with pytest.raises(Overloaded):
            await settle_by(database, shop, order, disputes=opened)
        assert len(tries) == BUSY_ATTEMPTS
        assert (await choose(placed, "paid")).status_code == 303
        async with httpx.AsyncClient(verify=False) as browser:  # noqa: S501 -- loopback
            assert (await browser.get(placed["url"])).status_code == 200
    await settle_by(database, shop, order, disputes=opened)
    assert await state_of(http, card) == "blocked"
