"""Lists, statements and events: newest first, paginated, each object under its own URL."""

import httpx
import pytest

from tests.support.api_calls import Json, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop

PLURALS = (
    "programs", "api-keys", "cards", "redemptions", "refunds", "holds", "loads", "transfers",
    "adjustments", "entries", "events",
)  # fmt: skip


@pytest.fixture
async def busy(http: httpx.AsyncClient, shop: Shop) -> Json:
    """A card with at least three objects of every kind."""
    card, other = await issue(http, shop, 1000), await issue(http, shop, 1000)
    await issue(http, shop, 5)
    rules = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 500}
    for n in range(3):
        spent = await redeem(http, card, 10)
        await made(http, "/refunds", {"redemption": spent["id"], "amount": 1})
        await made(http, "/holds", spend(card, 1))
        await made(http, "/loads", {"card": card["id"], "amount": 2})
        await made(http, "/transfers", {"from": card["id"], "to": other["id"], "amount": 3})
        await made(http, "/adjustments", {"card": card["id"], "amount": -1, "reason": "x"})
        await made(http, "/programs", rules)
        await made(http, "/api-keys", {"name": f"key {n}", "scopes": ["cards:read"]})
    return card


@pytest.mark.usefixtures("busy")
async def test_every_list_is_paginated(http: httpx.AsyncClient) -> None:
    for plural in PLURALS:
        whole = await read(http, f"/{plural}", limit=100)
        assert (whole["object"], whole["has_more"]) == ("list", False), plural
        found = whole["data"]
        assert len(found) >= 3, plural
        times = [each["created_at"] for each in found]
        assert times == sorted(times, reverse=True), plural
        paged: list[Json] = []
        while True:
            after = {"starting_after": paged[-1]["id"]} if paged else {}
            page = await read(http, f"/{plural}", limit=2, **after)
            paged += page["data"]
            assert page["has_more"] == (len(paged) < len(found)), plural
            if not page["has_more"]:
                break
        assert paged == found, plural
        assert await read(http, f"/{plural}/{found[0]['id']}") == found[0], plural
        assert len((await read(http, f"/{plural}"))["data"]) == min(20, len(found))


@pytest.mark.parametrize("plural", PLURALS)
async def test_the_parameters_of_lists_are_checked(http: httpx.AsyncClient, plural: str) -> None:
    for limit in ("0", "101", "-1", "x", "1.5"):
        answer = await http.get(f"/{plural}", params={"limit": limit})
        problem(answer, 422, "invalid_request", param="limit")
    for cursor in ("nonsense", f"xxx_{'0' * 32}"):
        answer = await http.get(f"/{plural}", params={"starting_after": cursor})
        problem(answer, 422, "invalid_request", param="starting_after")
    answer = await http.get(f"/{plural}", params={"colour": "red"})
    problem(answer, 422, "invalid_request", param="colour")
    problem(await http.get(f"/{plural}/nonsense"), 404,
            "card_not_found" if plural == "cards" else "not_found")  # fmt: skip


async def test_a_statement_adds_up(http: httpx.AsyncClient, busy: Json) -> None:
    path = f"/cards/{busy['id']}/entries"
    entries = (await read(http, path, limit=100))["data"]
    assert [entry["sequence"] for entry in entries] == list(range(len(entries), 0, -1))
    balance = 0
    for entry in reversed(entries):
        balance += entry["amount"]
        assert entry["balance_after"] == balance
        assert (entry["object"], entry["card"]) == ("entry", busy["id"])
        assert entry["actor"].startswith("key_")
        assert await read(http, f"/entries/{entry['id']}") == entry
    assert balance == (await read(http, f"/cards/{busy['id']}"))["balance"]
    first = await read(http, path, limit=5)
    rest = await read(http, path, limit=100, starting_after=first["data"][-1]["id"])
    assert first["data"] + rest["data"] == entries
    other = (await issue(http, Shop(busy["id"], busy["program"], ""), 5))["id"]
    elsewhere = (await read(http, f"/cards/{other}/entries"))["data"][0]["id"]
    answer = await http.get(path, params={"starting_after": elsewhere})
    problem(answer, 422, "invalid_request", param="starting_after")


async def test_lists_are_filtered(http: httpx.AsyncClient, shop: Shop, busy: Json) -> None:
    blocked = await issue(http, shop, 5)
    await made(http, f"/cards/{blocked['id']}/block", status=200)
    one = (await read(http, "/cards", state="blocked"))["data"]
    assert [card["id"] for card in one] == [blocked["id"]]
    one = (await read(http, "/cards", last4=blocked["last4"].lower()))["data"]
    assert blocked["id"] in [card["id"] for card in one]
    assert len((await read(http, "/cards", program=shop.program))["data"]) == 4
    hold = (await read(http, "/holds", card=busy["id"]))["data"][0]
    await made(http, f"/holds/{hold['id']}/void", status=200)
    voided = (await read(http, "/holds", card=busy["id"], state="voided"))["data"]
    assert [each["id"] for each in voided] == [hold["id"]]
    assert len((await read(http, "/holds", state="open"))["data"]) == 2
    answer = await http.get("/cards", params={"state": "lost"})
    problem(answer, 422, "invalid_request", param="state")
    for plural in ("redemptions", "loads", "transfers"):
        assert len((await read(http, f"/{plural}", card=busy["id"]))["data"]) == 3
        assert (await read(http, f"/{plural}", card=blocked["id"]))["data"] == []


async def test_events_say_what_happened_as_it_was_then(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, activate=False)
    await made(http, f"/cards/{card['id']}/activate", status=200)
    spent = await redeem(http, card, 30)
    await made(http, "/refunds", {"redemption": spent["id"], "amount": 10})
    hold = await made(http, "/holds", spend(card, 20))
    captured = await made(http, f"/holds/{hold['id']}/capture", {"amount": 5}, status=200)
    void = await made(http, "/holds", spend(card, 20))
    await made(http, f"/holds/{void['id']}/void", status=200)
    await made(http, "/loads", {"card": card["id"], "amount": 1})
    await made(http, "/adjustments", {"card": card["id"], "amount": 1, "reason": "x"})
    for verb in ("block", "unblock", "rotate-code"):
        await made(http, f"/cards/{card['id']}/{verb}", status=200)
    refused = await post(http, "/redemptions", spend(card, 10**9))
    assert refused.status_code == 402
    events = (await read(http, "/events", card=card["id"], limit=100))["data"][::-1]
    assert [event["type"] for event in events] == [
        "card.issued", "card.activated", "card.redeemed", "card.refunded", "hold.created",
        "card.redeemed", "hold.captured", "hold.created", "hold.voided", "card.loaded",
        "card.adjusted", "card.blocked", "card.unblocked", "card.code_rotated",
    ]  # fmt: skip
    assert [event["sequence"] for event in events] == list(range(1, 15))
    objects = [event["data"]["object"] for event in events]
    assert (objects[0]["state"], objects[0]["balance"]) == ("pending", 0)
    assert (objects[1]["state"], objects[1]["balance"]) == ("active", 100)
    assert objects[2] == spent
    assert (objects[4]["state"], objects[4]["redemption"]) == ("open", None)
    assert objects[5]["id"] == captured["redemption"]
    assert objects[6] == captured
    assert (objects[11]["state"], objects[12]["state"]) == ("blocked", "active")
    for event in events:
        assert event["object"] == "event"
        assert event["id"].startswith("evt_")
        assert await read(http, f"/events/{event['id']}") == event
        assert event["data"]["object"].get("code") is None
    assert len((await read(http, "/events", type="card.redeemed"))["data"]) == 2
