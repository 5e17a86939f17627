"""References: one card and one order of each, also of two requests at once."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.orders.selling import order_body
from tests.support.api_calls import Json, balanced, made, post, problem, read
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import client_of


def body_of(shop: Shop, noun: str, reference: str) -> Json:
    if noun == "orders":
        return order_body(shop, 2500, reference=reference)
    return {"program": shop.program, "amount": 2500, "reference": reference}


async def send(
    http: httpx.AsyncClient, shop: Shop, noun: str, reference: str, key: str
) -> httpx.Response:
    body = body_of(shop, noun, reference)
    return await http.post(f"/{noun}", json=body, headers={"idempotency-key": key})


@pytest.mark.parametrize("noun", ["cards", "orders"])
async def test_a_reference_names_one_object(http: httpx.AsyncClient, shop: Shop, noun: str) -> None:
    first = await send(http, shop, noun, "till-4711", "a")
    assert (first.status_code, first.json()["reference"]) == (201, "till-4711")
    name = first.json()["id"]
    again = await send(http, shop, noun, "till-4711", "a")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.json()["id"]) == (201, name)
    refused = problem(await send(http, shop, noun, "till-4711", "b"), 409, "reference_taken")
    assert (refused["param"], refused["existing"]) == ("reference", name)
    assert name in refused["detail"]
    other = await send(http, shop, noun, "till-4712", "b")  # the refusal did not burn the key
    assert other.status_code == 201, other.text
    found = await read(http, f"/{noun}", reference="till-4711")
    assert [each["id"] for each in found["data"]] == [name]
    assert (await read(http, f"/{noun}/{name}"))["reference"] == "till-4711"
    await balanced(http)


async def test_a_repeated_request_makes_no_second_link(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """The code that the repetition drew opens nothing, so no page may show it."""
    body = {
        "program": shop.program,
        "amount": 500,
        "reference": "till-4713",
        "recipient": {"email": "ada@example.org"},
        "deliver": {"channel": "email"},
    }
    answers = [await post(http, "/cards", body, under="once") for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    card = ids.require_id("crd", answers[0].json()["id"])
    for table in ("card_link", "delivery"):
        found = await owner.fetchval(f"select count(*) from florin.{table} where card = $1", card)  # noqa: S608 -- ours
        assert found == 1, table


@pytest.mark.parametrize("noun", ["cards", "orders"])
async def test_of_two_requests_at_once_one_gets_the_reference(
    http: httpx.AsyncClient, shop: Shop, noun: str
) -> None:
    answers = await asyncio.gather(
        *(send(http, shop, noun, f"sale-{n % 5}", f"key-{n}") for n in range(20))
    )
    counts = Counter(answer.status_code for answer in answers)
    assert counts == {201: 5, 409: 15}, [each.text for each in answers if each.status_code > 409]
    made_ = {each.json()["id"] for each in answers if each.status_code == 201}
    named = {each.json()["existing"] for each in answers if each.status_code == 409}
    assert named == made_
    assert {each["id"] for each in (await read(http, f"/{noun}"))["data"]} == made_
    await balanced(http)


async def test_a_purpose_and_a_merchant_have_their_own_references(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    for noun in ("cards", "orders"):
        assert (await send(http, shop, noun, "same", noun)).status_code == 201
    other = await make_shop(owner, database)
    async with client_of(api, **other.headers) as theirs:
        assert (await send(theirs, other, "cards", "same", "a")).status_code == 201
    for _ in range(2):  # without one, nothing is compared
        card = await made(http, "/cards", {"program": shop.program, "amount": 100})
        assert card["reference"] is None


async def test_a_card_that_is_delivered_keeps_its_reference(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    body = body_of(shop, "cards", "gift") | {"deliver": {"channel": "link"}}
    card = await made(http, "/cards", body)
    assert card["url"]
    refused = await http.post("/cards", json=body, headers={"idempotency-key": "another"})
    assert problem(refused, 409, "reference_taken")["existing"] == card["id"]
    listed = (await read(http, "/deliveries"))["data"]
    assert len(listed) == 1
