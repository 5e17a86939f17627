"""Disputes: the cards stop with the dispute; won, lost, and value that moved on."""

from typing import Any

import httpx

from florin.kit.postgres.database import Database
from tests.orders.selling import accounts, buy, choose, dashboard, explained, place, said
from tests.orders.test_orders import settle_by
from tests.orders.test_refunds import card_of, refund
from tests.support.api_calls import balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop


async def test_a_dispute_blocks_the_card_and_is_won(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """R35: in the same transaction; R34: nothing else clears it."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await redeem(http, card, 2000)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "dispute")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert (dispute["state"], dispute["amount"], dispute["withdrawn"]) == ("open", 5000, 5000)
    assert dispute["cards"] == [card["id"]]
    problem(await post(http, "/redemptions", spend(card, 1)), 402, "card_blocked")
    problem(await post(http, f"/orders/{order['id']}/refunds", {}), 402, "payment_disputed")
    assert (await accounts(http))["disputes"] == 5000
    assert "gateway_clearing" not in await accounts(http)
    assert (await read(http, f"/orders/{order['id']}"))["disputed"] is True
    await dashboard(http, order, "win")
    assert (await card_of(http, order))["state"] == "active"
    await redeem(http, card, 3000)
    assert await accounts(http) == {"gateway_clearing": 5000, "merchant_payable": -5000}
    [won] = (await read(http, "/disputes"))["data"]
    assert (won["state"], won["withdrawn"]) == ("won", 0)
    await explained(owner, shop)
    await balanced(http)


async def test_a_settlement_does_not_clear_a_dispute(
    http: httpx.AsyncClient, shop: Shop, database: Any
) -> None:
    """R34: a repeated "paid" after the chargeback."""
    order = await buy(http, shop, 5000)
    await dashboard(http, order, "dispute")
    await settle_by(database, shop, order)
    assert (await read(http, "/disputes"))["data"][0]["state"] == "open"
    assert (await card_of(http, order))["state"] == "blocked"


async def test_a_lost_dispute_takes_what_is_left(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await redeem(http, card, 2000)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    await dashboard(http, order, "lose")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert (dispute["state"], dispute["clawed"], dispute["loss"]) == ("lost", 3000, 2000)
    found = await card_of(http, order)
    assert (found["state"], found["balance"]) == ("closed", 0)
    assert await accounts(http) == {"chargeback_loss": 2000, "merchant_payable": -2000}
    await explained(owner, shop)
    await balanced(http)


async def test_a_dispute_follows_value_to_another_card(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """Only what came from the disputed card is taken from the other one."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    other = await issue(http, shop, 1000)
    await made(http, "/transfers", {"from": card["id"], "to": other["id"], "amount": 4000})
    await dashboard(http, order, "dispute")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert set(dispute["cards"]) == {card["id"], other["id"]}
    problem(await post(http, "/redemptions", spend(other, 1)), 402, "card_blocked")
    await dashboard(http, order, "lose")
    assert (await read(http, f"/cards/{other['id']}"))["balance"] == 1000
    assert (await read(http, "/disputes"))["data"][0]["clawed"] == 5000
    assert await accounts(http) == {"card": -1000, "merchant_clearing": 1000}
    await explained(owner, shop)
    await balanced(http)


async def test_a_lost_dispute_leaves_other_money_on_the_card(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """A card that was topped up twice: only the disputed money is taken from it."""
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await made(http, "/loads", {"card": card["id"], "amount": 300})
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    found = await card_of(http, order)
    assert (found["state"], found["balance"]) == ("blocked", 300)
    assert await accounts(http) == {"card": -300, "merchant_clearing": 300}


async def test_a_lost_dispute_takes_from_each_card_what_the_order_put_on_it(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await buy(http, shop, 2500, count=2)
    cards = (await read(http, f"/orders/{order['id']}"))["items"][0]["cards"]
    for card in cards:
        await made(http, "/loads", {"card": card, "amount": 300})
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    left = [(await read(http, f"/cards/{card}"))["balance"] for card in cards]
    assert left == [300, 300]


async def test_a_member_s_block_outlives_the_dispute(http: httpx.AsyncClient, shop: Shop) -> None:
    order = await buy(http, shop, 5000)
    card = await card_of(http, order)
    await made(http, f"/cards/{card['id']}/block", status=200)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "win")
    assert (await card_of(http, order))["state"] == "blocked"


async def test_a_dispute_after_a_refund(http: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    """The gateway withholds the whole amount; what the refund returned is borne as a loss."""
    order = await buy(http, shop, 5000)
    await refund(http, order, amount=2000)
    await dashboard(http, order, "dispute")
    await dashboard(http, order, "lose")
    [dispute] = (await read(http, "/disputes"))["data"]
    assert (dispute["clawed"], dispute["loss"]) == (3000, 2000)
    assert await accounts(http) == {"chargeback_loss": 2000, "gateway_clearing": -2000}
    await explained(owner, shop)
    await balanced(http)


async def test_a_look_from_before_the_end_of_a_dispute_moves_no_money(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    opened = said("chargeback", "open", withdrawn=5000)
    for state, kept in (("won", 5000), ("lost", 0)):
        order = await buy(http, shop, 5000)
        before = (await accounts(http)).get("gateway_clearing", 0) - 5000
        for seen in (opened, said("chargeback", state, withdrawn=5000 - kept), opened):
            await settle_by(database, shop, order, disputes=(seen,))
        found = await accounts(http)
        assert found.get("gateway_clearing", 0) - before == kept
        assert "disputes" not in found


async def test_money_that_comes_back_after_the_end_is_recorded(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    order = await buy(http, shop, 5000)
    for state, withdrawn in (("open", 5000), ("won", 5000), ("won", 0)):
        seen = said("chargeback", state, withdrawn=withdrawn)
        await settle_by(database, shop, order, disputes=(seen,))
    assert await accounts(http) == {"gateway_clearing": 5000, "card": -5000}


async def test_a_lost_dispute_of_an_order_in_review_ends_what_is_owed(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    order = await place(http, shop, 5000)
    await choose(order, "declined")
    await settle_by(database, shop, order, amount=4000)  # another amount
    seen = [said("chargeback", state, withdrawn=4000) for state in ("open", "lost")]
    for each in seen:
        await settle_by(database, shop, order, amount=4000, disputes=(each,))
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], found["refunded"]) == ("review", 4000)
    assert await accounts(http) == {}
    assert (await read(http, "/reports/gateway"))["unexplained"] == []
    [dispute] = (await read(http, "/disputes"))["data"]
    assert (dispute["state"], dispute["clawed"], dispute["loss"]) == ("lost", 0, 0)
    await balanced(http)
