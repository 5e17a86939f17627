"""Bulk orders: a card for each recipient of a list, paid once, each card issued once."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.kit.errors import InvalidRequest
from florin.orders.bulk.recipients import read_recipients
from tests.orders.selling import accounts, choose, dashboard, explained
from tests.support.api_calls import Json, balanced, made, post, problem, read, redeem
from tests.support.instance import Shop
from tests.support.workers import Crew

BUYER = {"email": "office@corp.example", "name": "Corp"}


def list_of(count: int) -> str:
    return "email,name\n" + "".join(f"r{n}@home.example,R {n}\n" for n in range(count))


def body_of(shop: Shop, recipients: str, **more: Any) -> Json:
    program = {"program": shop.program, "amount": 2500}
    return {**program, "recipients": recipients, "buyer": BUYER, "gateway": "test", **more}


async def settled(http: httpx.AsyncClient, order: Json, state: str) -> Json:
    found: Json = {}
    for _ in range(200):
        found = await read(http, f"/orders/{order['id']}")
        if found["state"] == state:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_every_invalid_line_is_named_before_anything_is_ordered(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    text = (
        "Email;Name;Amount;Message\r\n"
        "ada@home.example;Ada;25,00;Thank you\r\n"
        "no address;Bob;25,00;\r\n"
        ";Cleo;25,00;\r\n"
        '"dan@home.example";"Dan; the second";0,00;\r\n'
        "eve@home.example;Eve;much;\r\n"
        "finn@home.example;Finn\r\n"
        f"gus@home.example;{'g' * 256};1,00;\r\n"
    )
    body = body_of(shop, text, amounts="decimal")
    for path, sent in (
        ("/orders/bulk", body),
        ("/orders/bulk/check", {k: body[k] for k in ("program", "amounts", "recipients")}),
    ):
        refused = problem(await post(http, path, sent), 422, "invalid_request")
        assert refused["param"] == "recipients"
        assert [each["line"] for each in refused["errors"]] == [3, 4, 5, 6, 7, 8]
        details = [each["detail"] for each in refused["errors"]]
        wrong = ("e-mail address", "missing", "between 1 and", "a number", "2 fields", "name")
        for detail, words in zip(details, wrong, strict=True):
            assert words in detail, detail
    assert (await read(http, "/orders"))["data"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", "empty"),
        ("email,amount\n", "no recipients"),
        ("name,amount\nAda,1\n", "name the columns"),
        ("email,colour\na@b.example,red\n", "not a known column"),
        ("email,e-mail\na@b.example,a@b.example\n", "two columns"),
        ("email\n" + "a@b.example\n" * 5001, "at most 5000"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_as_a_whole(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_recipients(text, amounts="minor", digits=2, amount=100)


async def test_one_payment_buys_a_card_for_each_recipient(
    http: httpx.AsyncClient, shop: Shop, owner: Any, workers: Crew
) -> None:
    text = list_of(120) + "last@home.example,\n"
    listed = {"program": shop.program, "recipients": text, "amount": 2500}
    answer = await http.post("/orders/bulk/check", json=listed)
    assert answer.json() == {
        "object": "bulk_order_check", "cards": 121, "amount": 302_500, "currency": "EUR",
    }  # fmt: skip
    body = body_of(shop, text, message="Thank you")
    answers = [await post(http, "/orders/bulk", body, under="corp") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    order = answers[0].json()
    assert answers[1].json()["id"] == order["id"]
    assert (order["state"], order["bulk"], order["amount"]) == ("placed", True, 302_500)
    (item,) = order["items"]
    assert (item["amount"], item["count"], item["cards"]) == (2500, 121, [])
    assert (await choose(order, "paid")).status_code == 303
    paid = await read(http, f"/orders/{order['id']}")
    assert paid["state"] == "paid"
    assert await accounts(http) == {"gateway_clearing": 302_500, "refunds_pending": -302_500}
    path = f"/orders/{order['id']}"
    problem(await post(http, f"{path}/refunds", {}), 409, "order_in_progress")
    problem(await http.post(f"{path}/withdraw"), 409, "order_in_progress")
    problem(await http.post(f"{path}/cancel"), 402, "order_paid")
    await explained(owner, shop)

    workers.start()
    await settled(http, order, "fulfilled")
    assert await accounts(http) == {"gateway_clearing": 302_500, "card": -302_500}
    first = await read(http, f"{path}/recipients", limit=100)
    rest = await read(http, f"{path}/recipients", starting_after=first["data"][-1]["id"], limit=100)
    found = [*first["data"], *rest["data"]]
    assert (len(found), first["has_more"], rest["has_more"]) == (121, True, False)
    assert [each["number"] for each in found] == list(range(1, 122))
    assert len({each["card"] for each in found}) == 121
    assert found[3]["recipient"] == {"name": "R 3", "email": "r3@home.example"}
    assert found[120]["recipient"] == {"name": None, "email": "last@home.example"}
    card = await read(http, f"/cards/{found[3]['card']}")
    assert (card["balance"], card["recipient"]["email"]) == (2500, "r3@home.example")
    sent = (await read(http, "/deliveries", card=card["id"]))["data"]
    assert [each["address"] for each in sent] == ["r3@home.example"]
    await redeem(http, card, 500)
    refund = await made(http, f"{path}/refunds", {})
    assert (refund["amount"], refund["loss"]) == (302_000, 0)
    report = await read(http, "/reports/gateway")
    assert (report["charges"], report["refunds"], report["pending"]) == (302_500, 302_000, 500)
    await explained(owner, shop)
    await balanced(http)


async def test_a_dispute_waits_for_the_cards_and_then_blocks_them(
    http: httpx.AsyncClient, shop: Shop, owner: Any, workers: Crew
) -> None:
    order = await made(http, "/orders/bulk", body_of(shop, list_of(3)))
    await choose(order, "paid")
    await dashboard(http, order, "dispute")
    assert (await read(http, "/disputes"))["data"] == []
    workers.start()
    await settled(http, order, "fulfilled")
    for _ in range(200):
        if (await read(http, "/disputes"))["data"]:
            break
        await asyncio.sleep(0.05)
    states = {card["state"] for card in (await read(http, "/cards"))["data"]}
    assert states == {"blocked"}
    await explained(owner, shop)
    await balanced(http)


async def test_a_top_up_is_checked_before_it_is_paid(http: httpx.AsyncClient) -> None:
    """And credited once, however often it is settled."""
    limits = {"min_amount": 1, "max_amount": 5000, "max_balance": 6000}
    program = await made(http, "/programs", {"name": "P", "currency": "EUR", **limits})
    card = await made(http, "/cards", {"program": program["id"], "amount": 2000})

    def top_up(amount: int) -> Json:
        item = {"program": program["id"], "amount": amount, "card": card["id"]}
        return {"items": [item], "buyer": BUYER, "gateway": "test"}

    refused = await post(http, "/orders", top_up(4001))
    problem(refused, 402, "balance_limit_exceeded", param="items[0].amount")
    order = await made(http, "/orders", top_up(4000))
    await asyncio.gather(*(choose(order, "paid") for _ in range(5)))
    found = await read(http, f"/orders/{order['id']}")
    assert (found["state"], found["items"][0]["cards"]) == ("fulfilled", [card["id"]])
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 6000
    await made(http, f"/cards/{card['id']}/block", status=200)
    problem(await post(http, "/orders", top_up(1)), 402, "card_blocked", param="items[0].card")
    await balanced(http)
