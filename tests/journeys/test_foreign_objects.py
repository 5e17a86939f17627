"""Objects of another merchant get exactly the response of unknown objects."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.orders.selling import OWN_STRIPE, buy, dashboard
from tests.support.api_calls import Json, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Instance, Shop, make_shop


@pytest.fixture
async def theirs(
    api: Instance, owner: Any, database: Database
) -> AsyncGenerator[tuple[httpx.AsyncClient, Shop]]:
    """Another merchant and its client."""
    shop = await make_shop(owner, database)
    base = f"{api.base}/api/v1"
    async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=30) as client:
        yield client, shop


@pytest.fixture
async def nouns(theirs: tuple[httpx.AsyncClient, Shop]) -> dict[str, Json]:
    """One object of each kind of the other merchant, by plural."""
    http, shop = theirs
    card = await issue(http, shop, 500)
    redemption = await redeem(http, card, 50)
    found = {
        "cards": card,
        "redemptions": redemption,
        "refunds": await made(http, "/refunds", {"redemption": redemption["id"], "amount": 1}),
        "holds": await made(http, "/holds", spend(card, 5)),
        "loads": await made(http, "/loads", {"card": card["id"], "amount": 1}),
        "adjustments": await made(
            http, "/adjustments", {"card": card["id"], "amount": 1, "reason": "found"}
        ),
    }
    other = await issue(http, shop, 5)
    move = {"from": card["id"], "to": other["id"], "amount": 1}
    found["transfers"] = await made(http, "/transfers", move)
    order = await buy(http, shop)
    found["orders"] = order
    await made(http, f"/orders/{order['id']}/refunds", {"amount": 1})
    await dashboard(http, order, "dispute")
    await made(http, "/gateways", OWN_STRIPE)
    paid = ("payments", "payment-refunds", "disputes", "gateways")
    for plural in ("programs", "entries", "events", "api-keys", *paid):
        found[plural] = (await read(http, f"/{plural}"))["data"][0]
    return found


def nobodys(noun: Json) -> str:
    """An unknown id of the same kind."""
    prefix, _, rest = noun["id"].partition("_")
    return f"{prefix}_{ids.new_id().hex}{rest[32:]}"


def same(one: httpx.Response, other: httpx.Response) -> None:
    def body_of(answer: httpx.Response) -> Json:
        body: Json = answer.json()
        return {name: value for name, value in body.items() if name != "request_id"}

    assert (one.status_code, body_of(one)) == (other.status_code, body_of(other))


async def test_reading(
    http: httpx.AsyncClient, theirs: tuple[httpx.AsyncClient, Shop], nouns: dict[str, Json]
) -> None:
    for plural, noun in nouns.items():
        assert (await read(theirs[0], f"/{plural}/{noun['id']}"))["id"] == noun["id"]
        answer = await http.get(f"/{plural}/{noun['id']}")
        problem(answer, 404, "card_not_found" if plural == "cards" else "not_found")
        same(answer, await http.get(f"/{plural}/{nobodys(noun)}"))
        listed = await read(http, f"/{plural}")
        assert noun["id"] not in {each["id"] for each in listed["data"]}
    card = nouns["cards"]["id"]
    problem(await http.get(f"/cards/{card}/entries"), 404, "card_not_found")
    for plural in ("redemptions", "refunds", "loads", "transfers", "adjustments", "holds"):
        assert (await read(theirs[0], f"/{plural}", card=card))["data"] != []
        assert (await read(http, f"/{plural}", card=card))["data"] == []
    assert (await read(http, "/events", card=card))["data"] == []
    assert (await read(http, "/cards", program=nouns["programs"]["id"]))["data"] == []
    # A place in their list is none in ours.
    after = nouns["entries"]["id"]
    answer = await http.get("/entries", params={"starting_after": after})
    problem(answer, 422, "invalid_request", param="starting_after")
    nowhere = f"ent_{'0' * 32}{after[-2:]}"
    same(answer, await http.get("/entries", params={"starting_after": nowhere}))


async def test_looking_up(http: httpx.AsyncClient, nouns: dict[str, Json]) -> None:
    answer = await http.post("/cards/lookup", json={"code": nouns["cards"]["code"]})
    problem(answer, 404, "card_not_found")


STATES = ("activate", "block", "unblock", "close", "reinstate")
CHANGES = (*STATES, "rotate-code", "reset-pin", "cash-outs")


@pytest.mark.parametrize("change", CHANGES)
async def test_changing_a_card(
    http: httpx.AsyncClient, nouns: dict[str, Json], change: str
) -> None:
    card = nouns["cards"]
    answer = await post(http, f"/cards/{card['id']}/{change}")
    problem(answer, 404, "card_not_found")
    same(answer, await post(http, f"/cards/{nobodys(card)}/{change}"))


async def test_moving_money(
    http: httpx.AsyncClient,
    shop: Shop,
    theirs: tuple[httpx.AsyncClient, Shop],
    nouns: dict[str, Json],
) -> None:
    mine, card = await issue(http, shop, 100), nouns["cards"]
    bodies: list[tuple[str, Any, str]] = [
        ("/cards", {"program": nouns["programs"]["id"], "amount": 5}, "not_found"),
        ("/redemptions", spend(card, 1), "card_not_found"),
        ("/redemptions", {"code": card["code"], "amount": 1, "currency": "EUR"}, "card_not_found"),
        ("/holds", spend(card, 1), "card_not_found"),
        ("/loads", {"card": card["id"], "amount": 1}, "card_not_found"),
        ("/adjustments", {"card": card["id"], "amount": -1, "reason": "x"}, "card_not_found"),
        ("/transfers", {"from": mine["id"], "to": card["id"], "amount": 1}, "card_not_found"),
        ("/transfers", {"from": card["id"], "to": mine["id"], "amount": 1}, "card_not_found"),
        ("/refunds", {"redemption": nouns["redemptions"]["id"]}, "not_found"),
        (f"/holds/{nouns['holds']['id']}/capture", None, "not_found"),
        (f"/holds/{nouns['holds']['id']}/void", None, "not_found"),
    ]
    before = await read(theirs[0], f"/cards/{card['id']}")
    for path, body, code in bodies:
        problem(await post(http, path, body), 404, code)
    batch = {"redemptions": [spend(card, 1, idempotency_key="b")]}
    answer = await http.post("/redemptions/batch", json=batch)
    assert answer.json()["data"][0]["problem"]["code"] == "card_not_found"
    assert await read(theirs[0], f"/cards/{card['id']}") == before
    assert (await read(http, f"/cards/{mine['id']}"))["balance"] == 100


async def test_changing_a_program_or_a_key(
    http: httpx.AsyncClient, theirs: tuple[httpx.AsyncClient, Shop], nouns: dict[str, Json]
) -> None:
    program, key = nouns["programs"], nouns["api-keys"]
    problem(await http.patch(f"/programs/{program['id']}", json={"name": "X"}), 404, "not_found")
    problem(await http.delete(f"/api-keys/{key['id']}"), 404, "not_found")
    assert await read(theirs[0], f"/programs/{program['id']}") == program
    assert (await read(theirs[0], f"/api-keys/{key['id']}"))["revoked_at"] is None
