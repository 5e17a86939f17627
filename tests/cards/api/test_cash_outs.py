"""Cash-outs: the small balance that is left on a card is paid to its holder, once."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.orders.selling import accounts
from tests.support.api_calls import (
    Json,
    balanced,
    issue,
    made,
    post,
    problem,
    read,
    redeem,
    spend,
    together,
)
from tests.support.instance import Instance, Shop
from tests.support.members import audited, client_of, member, register

LIMITS = {"min_amount": 1, "max_amount": 10**6}


async def sold_in(http: httpx.AsyncClient, shop: Shop, *places: str, **more: Any) -> Shop:
    """The shop with a program whose cards are sold there, in dollars."""
    body = {"name": "P", "currency": "USD", "places": list(places), **LIMITS, **more}
    program = await made(http, "/programs", body)
    return Shop(shop.merchant, program["id"], shop.secret)


def path_of(card: Json) -> str:
    return f"/cards/{card['id']}/cash-outs"


async def test_california_pays_less_than_15_dollars(http: httpx.AsyncClient, shop: Shop) -> None:
    sold = await sold_in(http, shop, "US-CA")
    rich = await issue(http, sold, 1500)
    refused = problem(await post(http, path_of(rich)), 402, "cash_out_not_allowed")
    assert (refused["balance"], refused["limit"]) == (1500, 1499)
    assert "1499" in refused["detail"]
    problem(await post(http, path_of(rich), {"amount": 100}), 402, "cash_out_not_allowed")
    card = await issue(http, sold, 1499)
    body = {"reference": "receipt 9", "location": "till 2", "metadata": {"a": "b"}}
    paid = await made(http, path_of(card), body)
    assert (paid["object"], paid["card"], paid["currency"]) == ("cash_out", card["id"], "USD")
    assert (paid["amount"], paid["balance"]) == (1499, 0)
    assert {name: paid[name] for name in body} == body
    assert await read(http, f"/cash-outs/{paid['id']}") == paid
    assert (await read(http, "/cash-outs", card=card["id"]))["data"] == [paid]
    (entry, _) = (await read(http, f"/cards/{card['id']}/entries"))["data"]
    assert (entry["kind"], entry["amount"], entry["source"]) == ("cash_out", -1499, paid["id"])
    assert (await read(http, f"/cards/{card['id']}"))["state"] == "active"
    books = await read(http, "/ledger/balances", currency="USD")
    found = {each["account"]: each["balance"] for each in books["accounts"] if each["balance"]}
    assert found["cash_out"] == -1499
    event = (await read(http, "/events", type="card.cashed_out"))["data"][0]
    assert event["data"]["object"]["balance"] == 0
    problem(await post(http, path_of(card)), 402, "insufficient_funds")
    await balanced(http)


@pytest.mark.parametrize(
    ("places", "currency", "more", "limit"),
    [
        (["US-CO"], "USD", {}, 500),
        (["US-NY", "US-RI"], "USD", {}, 499),  # the highest of the places
        (["US"], "USD", {}, 1499),  # in every state, California included
        (["CA-QC"], "CAD", {}, 500),
        (["US-CA"], "EUR", {}, 0),  # a threshold in dollars says nothing of euros
        (["NL"], "EUR", {}, 0),
        (["NL"], "EUR", {"cash_out_limit": 300}, 300),  # what the merchant pays of its own accord
        (["US-CA"], "USD", {"cash_out_limit": 300}, 1499),  # never less than the law
    ],
)
async def test_the_limit_is_that_of_the_law_or_the_program(
    http: httpx.AsyncClient, shop: Shop, places: list[str], currency: str, more: Json, limit: int
) -> None:
    sold = await sold_in(http, shop, *places, currency=currency, **more)
    card = await issue(http, sold, limit + 1)
    refused = problem(await post(http, path_of(card)), 402, "cash_out_not_allowed")
    assert refused["limit"] == limit
    if limit:
        body = {"card": card["id"], "amount": 1, "currency": currency}
        await made(http, "/redemptions", body)
        assert (await made(http, path_of(card)))["amount"] == limit


async def test_what_a_hold_reserves_is_part_of_the_balance(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    sold = await sold_in(http, shop, "US-CA")
    card = await issue(http, sold, 2000)
    hold = await made(http, "/holds", {**spend(card, 1000), "currency": "USD"})
    problem(await post(http, path_of(card)), 402, "cash_out_not_allowed")
    await made(http, f"/holds/{hold['id']}/capture", {"amount": 600}, status=200)
    kept = await made(http, "/holds", {**spend(card, 300), "currency": "USD"})
    assert (await made(http, path_of(card)))["amount"] == 1100
    assert (await made(http, f"/holds/{kept['id']}/capture", status=200))["captured"] == 300


async def test_cards_that_cannot_be_spent_are_not_paid_out(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    sold = await sold_in(http, shop, "US-CA")
    card = await issue(http, sold, 100)
    problem(await post(http, path_of(card), {"amount": 101}), 402, "insufficient_funds")
    await made(http, f"/cards/{card['id']}/block", status=200)
    problem(await post(http, path_of(card)), 402, "card_blocked")
    pending = await issue(http, sold, 100, activate=False)
    problem(await post(http, path_of(pending)), 402, "card_not_active")
    problem(await post(http, f"/cards/crd_{'0' * 32}/cash-outs"), 404, "card_not_found")
    whole = await sold_in(http, shop, "US-CA", partial_redemption=False)
    whole_card = await issue(http, whole, 100)
    part = await post(http, path_of(whole_card), {"amount": 40})
    problem(part, 402, "partial_redemption_not_allowed")
    assert (await made(http, path_of(whole_card)))["amount"] == 100


async def test_a_key_pays_once(http: httpx.AsyncClient, shop: Shop) -> None:
    sold = await sold_in(http, shop, "US-CA")
    card = await issue(http, sold, 900)
    problem(await http.post(path_of(card)), 400, "idempotency_key_required")
    answers = await together(
        post(http, path_of(card), {"amount": 300}, under="cash") for _ in range(8)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 600
    other = await post(http, path_of(card), under="cash")
    problem(other, 422, "idempotency_key_reused")


async def test_cash_outs_race_redemptions(http: httpx.AsyncClient, shop: Shop) -> None:
    """What is spent and paid out together is what was there."""
    sold = await sold_in(http, shop, "US-CA")
    for _ in range(4):
        card = await issue(http, sold, 1400)
        purchase = {"card": card["id"], "amount": 500, "currency": "USD"}
        answers = await asyncio.gather(
            *(post(http, "/redemptions", purchase) for _ in range(5)),
            *(post(http, path_of(card)) for _ in range(5)),
        )
        assert {answer.status_code for answer in answers} <= {201, 402}
        moved = sum(answer.json().get("amount", 0) for answer in answers)
        assert moved + (await read(http, f"/cards/{card['id']}"))["balance"] == 1400
        paid = [answer for answer in answers[5:] if answer.status_code == 201]
        assert len(paid) <= 1
    await balanced(http)


async def test_the_limit_holds_against_a_load(http: httpx.AsyncClient, shop: Shop) -> None:
    """The balance is compared under the lock of the card: a loaded card is not paid out."""
    sold = await sold_in(http, shop, "US-CA")
    for _ in range(6):
        card = await issue(http, sold, 1000)
        load, *paid = await asyncio.gather(
            post(http, "/loads", {"card": card["id"], "amount": 1000}),
            *(post(http, path_of(card), {"amount": 10}) for _ in range(4)),
        )
        assert load.status_code == 201
        entries = (await read(http, f"/cards/{card['id']}/entries"))["data"]
        before = 0
        for entry in reversed(entries):
            assert entry["kind"] != "cash_out" or before <= 1499
            before = entry["balance_after"]
        assert {answer.status_code for answer in paid} <= {201, 402}


async def test_a_cashier_needs_the_card_in_hand(api: Instance) -> None:
    """By its code, and its PIN; staff who may spend by id need neither. All is audited."""
    async with client_of(api) as http:
        boss = await register(http)
        cashier, viewer = await member(http, boss, "cashier"), await member(http, boss, "viewer")
        async with client_of(api, **boss.headers) as office:
            terms = {"currency": "USD", "places": ["US-CA"], **LIMITS}
            program = await made(office, "/programs", {"name": "P", **terms})
            shop = Shop(boss.tokens["user"]["id"], program["id"], "")
            card = await issue(office, shop, 900, pin=True)
            other = await issue(office, shop, 900)
            async with client_of(api, **cashier.headers) as till:
                problem(await post(till, path_of(card)), 403, "forbidden")
                code = {"code": card["code"]}
                problem(await post(till, path_of(card), code), 402, "pin_required")
                wrong = {**code, "pin": f"{(int(card['pin']) + 1) % 10**6:06}"}
                problem(await post(till, path_of(card), wrong), 402, "pin_incorrect")
                of_other = {"code": other["code"]}
                problem(await post(till, path_of(card), of_other), 404, "card_not_found")
                paid = await made(till, path_of(card), {**code, "pin": card["pin"], "amount": 100})
                assert paid["balance"] == 800
            async with client_of(api, **viewer.headers) as looking:
                problem(await post(looking, path_of(other), of_other), 403, "forbidden")
                assert (await read(looking, "/cash-outs"))["data"] == [paid]
            assert (await made(office, path_of(other)))["amount"] == 900
        records = await audited(http, boss, action="card.cashed_out")
        assert [each["after"]["amount"] for each in records] == [900, 100]
        assert [each["actor"] for each in records] == [boss.id, cashier.id]


async def test_the_accounts_of_a_cash_out(http: httpx.AsyncClient, shop: Shop) -> None:
    """The posting is card to cash_out, and a partial redemption before it is not touched."""
    sold = await sold_in(http, shop, "NL", currency="EUR", cash_out_limit=500)
    card = await issue(http, sold, 2000)
    await redeem(http, card, 1580)
    await made(http, path_of(card))
    assert await accounts(http) == {
        "merchant_clearing": 2000, "merchant_payable": -1580, "cash_out": -420,
    }  # fmt: skip
