"""Money of a blocked card: an owner moves it or writes it off, for a reason; the card stays so."""

from typing import Any

import pytest

from tests.support.api_calls import Json, made, post, problem, read
from tests.support.instance import Instance
from tests.support.members import client_of, member, register

REASON = "the holder lost it and showed the receipt"


@pytest.fixture
async def cards(api: Instance) -> Any:
    """A client without credentials, an owner, a blocked card and another card."""
    async with client_of(api) as http:
        owner = await register(http)
        async with client_of(api, **owner.headers) as mine:
            body = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 1000}
            program = (await made(mine, "/programs", body))["id"]
            two = [await made(mine, "/cards", {"program": program, "amount": 500}) for _ in "12"]
            await made(mine, f"/cards/{two[0]['id']}/block", status=200)
            yield http, owner, mine, two


def bodies(blocked: Json, other: Json) -> list[tuple[str, Json]]:
    return [
        ("/transfers", {"from": blocked["id"], "to": other["id"], "amount": 300}),
        ("/adjustments", {"card": blocked["id"], "amount": -200}),
    ]


async def test_an_owner_takes_the_money_and_the_card_stays_blocked(cards: Any) -> None:
    _, _, mine, (blocked, other) = cards
    for path, body in bodies(blocked, other):
        problem(await post(mine, path, body | {"reason": REASON}), 402, "card_blocked")
        await made(mine, path, body | {"reason": REASON, "from_blocked": True})
    found = await read(mine, f"/cards/{blocked['id']}")
    assert (found["state"], found["balance"]) == ("blocked", 0)
    assert (await read(mine, f"/cards/{other['id']}"))["balance"] == 800
    records = (await read(mine, "/audit", subject=blocked["id"]))["data"]
    assert [(each["action"], each["after"].get("amount")) for each in records] == [
        ("card.adjusted", 200), ("card.transferred", 300), ("card.blocked", None),
    ]  # fmt: skip
    assert {each["after"].get("reason") for each in records[:2]} == {REASON}
    entries = (await read(mine, f"/cards/{blocked['id']}/entries"))["data"]
    assert [each["reason"] for each in entries[:2]] == [REASON, REASON]
    assert (await read(mine, "/ledger/proof"))["balanced"]
    more = {"card": blocked["id"], "amount": 5, "reason": REASON, "from_blocked": True}
    problem(await post(mine, "/adjustments", more), 402, "card_blocked")  # only out of it
    back = {"from": other["id"], "to": blocked["id"], "amount": 5, "reason": "r"}
    problem(await post(mine, "/transfers", back | {"from_blocked": True}), 402, "card_blocked")


async def test_others_do_not(cards: Any, api: Instance) -> None:
    http, boss, mine, (blocked, other) = cards
    manager = await member(http, boss, "manager")
    key = await made(mine, "/api-keys", {"name": "k", "scopes": ["cards:write"]})
    async with (
        client_of(api, **manager.headers) as theirs,
        client_of(api, authorization=f"Bearer {key['secret']}") as keyed,
    ):
        for path, body in bodies(blocked, other):
            wanted = body | {"reason": REASON, "from_blocked": True}
            for client in (theirs, keyed):
                problem(await post(client, path, wanted), 403, "forbidden")
    transfer = bodies(blocked, other)[0][1] | {"from_blocked": True}
    problem(await post(mine, "/transfers", transfer), 422, "invalid_request", param="reason")
    assert (await read(mine, f"/cards/{blocked['id']}"))["balance"] == 500
