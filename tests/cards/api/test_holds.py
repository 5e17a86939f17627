"""Holds over HTTP: reserved immediately, captured or voided once, expired in time."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop

FIELDS = {
    "id", "object", "card", "state", "amount", "captured", "currency", "redemption", "reference",
    "location", "metadata", "expires_at", "created_at",
}  # fmt: skip


async def resolve(http: httpx.AsyncClient, hold: Json, verb: str, **body: int) -> Json:
    return await made(http, f"/holds/{hold['id']}/{verb}", body or None, status=200)


async def test_a_hold_reserves_money_immediately(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    body = {"code": card["code"], "amount": 60, "currency": "EUR", "reference": "room 7"}
    hold = await made(http, "/holds", body)
    assert set(hold) == FIELDS
    assert (hold["object"], hold["state"], hold["card"]) == ("hold", "open", card["id"])
    assert (hold["amount"], hold["captured"], hold["redemption"]) == (60, 0, None)
    lasts = datetime.fromisoformat(hold["expires_at"]) - datetime.fromisoformat(hold["created_at"])
    assert lasts == timedelta(seconds=600)
    assert await read(http, f"/holds/{hold['id']}") == hold
    now = await read(http, f"/cards/{card['id']}")
    assert (now["balance"], now["held"], now["available"]) == (100, 60, 40)
    answer = await post(http, "/redemptions", spend(card, 41))
    assert problem(answer, 402, "insufficient_funds")["available"] == 40
    problem(await post(http, "/holds", spend(card, 41)), 402, "insufficient_funds")
    other = await issue(http, shop, 1)
    move = {"from": card["id"], "to": other["id"], "amount": 41}
    problem(await post(http, "/transfers", move), 402, "insufficient_funds")
    less = {"card": card["id"], "amount": -41, "reason": "x"}
    problem(await post(http, "/adjustments", less), 402, "insufficient_funds")
    assert (await redeem(http, card, 40))["balance"] == 60


async def test_a_capture_makes_a_redemption(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    hold = await made(http, "/holds", spend(card, 60))
    over = await post(http, f"/holds/{hold['id']}/capture", {"amount": 61})
    problem(over, 402, "capture_exceeds_hold")
    captured = await resolve(http, hold, "capture", amount=45)
    assert (captured["state"], captured["captured"], captured["amount"]) == ("captured", 45, 60)
    now = await read(http, f"/cards/{card['id']}")
    assert (now["balance"], now["held"], now["available"]) == (55, 0, 55)
    spent = await read(http, f"/redemptions/{captured['redemption']}")
    assert (spent["amount"], spent["balance"], spent["hold"]) == (45, 55, hold["id"])
    refund = await made(http, "/refunds", {"redemption": spent["id"]})
    assert (refund["amount"], refund["balance"]) == (45, 100)
    for verb in ("capture", "void"):
        problem(await post(http, f"/holds/{hold['id']}/{verb}"), 402, "hold_not_open")
    await balanced(http)


async def test_a_capture_without_an_amount_takes_all(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    hold = await made(http, "/holds", spend(card, 100))
    assert (await resolve(http, hold, "capture"))["captured"] == 100
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 0


async def test_a_void_releases_the_hold(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    hold = await made(http, "/holds", spend(card, 100))
    voided = await resolve(http, hold, "void")
    assert (voided["state"], voided["captured"], voided["redemption"]) == ("voided", 0, None)
    assert (await read(http, f"/cards/{card['id']}"))["available"] == 100
    for verb in ("capture", "void"):
        problem(await post(http, f"/holds/{hold['id']}/{verb}"), 402, "hold_not_open")
    for verb in ("capture", "void"):
        for nothing in ("hld_nonsense", f"hld_{'0' * 32}", card["id"]):
            problem(await post(http, f"/holds/{nothing}/{verb}"), 404, "not_found")


async def test_a_hold_expires(aging: Any) -> None:
    http, shop, pass_time = aging
    card = await issue(http, shop, 100)
    hold = await made(http, "/holds", spend(card, 70, expires_in=60))
    keeps = await made(http, "/holds", spend(card, 20, expires_in=86_400))
    await pass_time(seconds=61)
    now = await read(http, f"/cards/{card['id']}")
    assert (now["balance"], now["held"], now["available"]) == (100, 20, 80)
    assert (await read(http, f"/holds/{hold['id']}"))["state"] == "expired"
    for verb in ("capture", "void"):
        problem(await post(http, f"/holds/{hold['id']}/{verb}"), 402, "hold_not_open")
    assert (await redeem(http, card, 80))["balance"] == 20
    assert (await resolve(http, keeps, "capture"))["captured"] == 20
    expired = (await read(http, "/events", type="hold.expired"))["data"]
    assert [event["data"]["object"]["id"] for event in expired] == [hold["id"]]
    await balanced(http)


@pytest.mark.parametrize("expires_in", [0, -1, 31_536_001, 1.5, "60", None])
async def test_the_duration_of_a_hold_is_limited(
    http: httpx.AsyncClient, shop: Shop, expires_in: object
) -> None:
    card = await issue(http, shop, 100)
    answer = await post(http, "/holds", spend(card, 1, expires_in=expires_in))
    problem(answer, 422, "invalid_request", param="expires_in")
    await made(http, "/holds", spend(card, 1, expires_in=31_536_000))
    await made(http, "/holds", spend(card, 1, expires_in=1))
