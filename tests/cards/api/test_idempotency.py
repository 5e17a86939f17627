"""Idempotency-Key over HTTP: a repeated request is executed once; every rule of the contract."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.support.api_calls import Json, balanced, issue, made, post, problem, read, redeem, spend
from tests.support.hostile_requests import raw, request
from tests.support.instance import Instance, Shop, make_shop

# Every route that creates or moves money, with a valid body for the card below.
NEEDED = (
    ("/cards", {"program": "", "amount": 100}),
    ("/cards/{card}/activate", None),
    ("/redemptions", {"card": "", "amount": 1, "currency": "EUR"}),
    ("/refunds", {"redemption": ""}),
    ("/holds", {"card": "", "amount": 1, "currency": "EUR"}),
    ("/holds/{hold}/capture", None),
    ("/holds/{hold}/void", None),
    ("/loads", {"card": "", "amount": 1}),
    ("/transfers", {"from": "", "to": "", "amount": 1}),
    ("/adjustments", {"card": "", "amount": -1, "reason": "counted"}),
)
PATHS = [path for path, _ in NEEDED]


@pytest.fixture
async def filled(http: httpx.AsyncClient, shop: Shop) -> dict[str, tuple[str, Any]]:
    """Every path of NEEDED with its URL and a body that succeeds, each on its own card."""
    found: dict[str, tuple[str, Any]] = {}
    for path, body in NEEDED:
        card = await issue(http, shop, 500, activate=path != "/cards/{card}/activate")
        names = {"program": shop.program, "card": card["id"], "from": card["id"]}
        if body is not None and "to" in body:
            names["to"] = (await issue(http, shop, 500))["id"]
        if path == "/refunds":
            names["redemption"] = (await redeem(http, card, 50))["id"]
        if "{hold}" in path:
            names["hold"] = (await made(http, "/holds", spend(card, 40)))["id"]
        filled_in = body and {name: names.get(name) or value for name, value in body.items()}
        found[path] = (path.format(card=names["card"], hold=names.get("hold")), filled_in)
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_is_needed_where_money_is_made_or_moved(
    http: httpx.AsyncClient, filled: dict[str, tuple[str, Any]], path: str
) -> None:
    address, body = filled[path]
    for headers in ({}, {"Idempotency-Key": ""}):
        answer = await http.post(address, json=body, headers=headers)
        problem(answer, 400, "idempotency_key_required")
    for key in ("k" * 256, "tab\tbed"):
        answer = await http.post(address, json=body, headers={"Idempotency-Key": key})
        problem(answer, 422, "invalid_request", param="Idempotency-Key")
    assert (await post(http, address, body, under=f"{path} {'k' * 200}")).is_success


@pytest.mark.parametrize("path", PATHS)
async def test_a_repeated_request_gets_the_same_response(
    http: httpx.AsyncClient, filled: dict[str, tuple[str, Any]], path: str
) -> None:
    address, body = filled[path]
    first = await post(http, address, body, under=f"again {path}")
    assert first.is_success, first.text
    assert "idempotency-replayed" not in first.headers
    again = await post(http, address, body, under=f"again {path}")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["florin-consistency"]
    await balanced(http)


async def test_a_repetition_gets_the_first_answer_after_later_changes(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    body = {"program": shop.program, "amount": 1000}
    issued = await post(http, "/cards", body, under="sold")
    card = issued.json()
    spent = await post(http, "/redemptions", spend(card, 300), under="spent")
    await made(http, "/refunds", {"redemption": spent.json()["id"], "amount": 100})
    held = await post(http, "/holds", spend(card, 200), under="held")
    await made(http, f"/holds/{held.json()['id']}/capture", {"amount": 50}, status=200)
    blocked = await post(http, f"/cards/{card['id']}/block", under="blocked")
    await made(http, f"/cards/{card['id']}/unblock", status=200)
    await made(http, "/loads", {"card": card["id"], "amount": 1})
    for path, asked, first in (
        ("/cards", body, issued),
        ("/redemptions", spend(card, 300), spent),
        ("/holds", spend(card, 200), held),
        (f"/cards/{card['id']}/block", None, blocked),
    ):
        under = first.request.headers["idempotency-key"]
        again = await post(http, path, asked, under=under)
        assert again.json() == first.json()
    assert issued.json()["code"] is not None  # within 24 hours
    assert (await read(http, f"/redemptions/{spent.json()['id']}"))["refunded"] == 100


@pytest.mark.parametrize("path", PATHS)
async def test_another_request_under_the_key_is_refused(
    http: httpx.AsyncClient, shop: Shop, filled: dict[str, tuple[str, Any]], path: str
) -> None:
    address, body = filled[path]
    assert (await post(http, address, body, under=f"taken {path}")).is_success
    if body is not None:
        other = body | ({"amount": 2} if "amount" in body else {"reference": "another"})
        answer = await post(http, address, other, under=f"taken {path}")
        problem(answer, 422, "idempotency_key_reused")
    elsewhere = {"program": shop.program, "amount": 77}
    answer = await post(http, "/cards", elsewhere, under=f"taken {path}")
    problem(answer, 422, "idempotency_key_reused")
    card = await issue(http, shop)
    load = {"card": card["id"], "amount": 77}
    problem(await post(http, "/loads", load, under=f"taken {path}"), 422, "idempotency_key_reused")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == card["balance"]


async def test_the_order_of_fields_and_a_default_written_out_do_not_matter(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop)
    first = await post(http, "/redemptions", spend(card, 10, metadata={"a": "1", "b": "2"}),
                       under="as parsed")  # fmt: skip
    text = (
        '{ "simulate":false, "metadata" : {"b":"2","a":"1"}, "currency":"EUR",\n'
        f'"allow_remainder": false, "amount":10, "card":"{card["id"]}" }}'
    )
    again = await http.post("/redemptions", content=text, headers={"Idempotency-Key": "as parsed"})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content


async def test_an_empty_field_is_the_same_as_a_missing_one(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """A retry by a client that sends empty fields, or leaves them out."""
    issued = {"program": shop.program, "amount": 500}
    nothing: list[Json] = [{}, {"metadata": {}}, {"metadata": None}]
    shapes: list[Json] = [
        *nothing,
        {"recipient": {}},
        {"recipient": None},
        {"recipient": {"name": None}},
        {"metadata": {}, "recipient": {"name": None, "email": None}},
    ]
    for number, first_shape in enumerate(shapes):
        under = f"empty {number}"
        first = await post(http, "/cards", issued | first_shape, under=under)
        assert (first.json()["recipient"], first.json()["metadata"]) == (None, {})
        for shape in shapes:
            again = await post(http, "/cards", issued | shape, under=under)
            assert (again.status_code, again.content) == (201, first.content), (first_shape, shape)
    card, other = await issue(http, shop, 500), await issue(http, shop, 500)
    spent = await redeem(http, card, 100)
    bodies: list[tuple[str, Json]] = [
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
        ("/transfers", {"from": card["id"], "to": other["id"], "amount": 1}),
        ("/adjustments", {"card": card["id"], "amount": 1, "reason": "counted"}),
        ("/refunds", {"redemption": spent["id"], "amount": 1}),
        ("/programs", {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5}),
    ]
    for path, body in bodies:
        for number, one in enumerate(nothing):
            first = await post(http, path, body | one, under=f"empty {path} {number}")
            assert first.is_success, first.text
            for another in nothing:
                again = await post(http, path, body | another, under=f"empty {path} {number}")
                assert again.content == first.content, (path, one, another)
                assert again.headers["idempotency-replayed"] == "true"
    late = await post(http, "/cards", issued | {"metadata": {"a": ""}}, under="empty 0")
    problem(late, 422, "idempotency_key_reused")


@pytest.mark.parametrize("spelled", ["{}", " {}", "{}  ", "\t{}", "{}\t", " \t {} \t "])
async def test_a_key_is_the_same_in_a_header_and_in_a_batch_item(
    http: httpx.AsyncClient, api: Instance, shop: Shop, spelled: str
) -> None:
    """HTTP strips spaces and tabs from the ends of a header; the same key in a body is equal."""
    card = await issue(http, shop, 100)
    key = spelled.format("Receipt 4711")
    item = spend(card, 10, idempotency_key=key)
    answer = await http.post("/redemptions/batch", json={"redemptions": [item]})
    (line,) = answer.json()["data"]
    assert line["status"] == 201, line
    for written in (key, "Receipt 4711", f"\t{key} "):
        body = json.dumps(spend(card, 10)).encode()
        header = b"Idempotency-Key: " + written.encode()
        status, again = await raw(api, request(shop, "/redemptions", body, header))
        assert status == 201, again
        assert b"idempotency-replayed: true" in again
    for other in ("receipt 4711", "Receipt  4711"):
        answer = await post(http, "/redemptions", spend(card, 10), under=other)
        assert "idempotency-replayed" not in answer.headers
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 70


async def test_keys_that_no_header_could_carry_are_refused_in_a_body_too(
    http: httpx.AsyncClient, api: Instance, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    body = json.dumps(spend(card, 10)).encode()
    for key in (
        "Beleg ü",
        "\u00a0k",
        "k\u2003",
        "k\n",
        "\r\nk",
        "a\tb",
        "k\x7f",
        "\ufeffk",
        "k" * 256,
    ):
        item = spend(card, 10, idempotency_key=key)
        answer = await http.post("/redemptions/batch", json={"redemptions": [item]})
        (line,) = answer.json()["data"]
        assert (line["status"], line["problem"]["param"]) == (422, "idempotency_key"), key
        if "\n" not in key:
            header = b"Idempotency-Key: " + key.encode()
            status, _ = await raw(api, request(shop, "/redemptions", body, header))
            assert 400 <= status < 500, key
    for empty in (" ", "\t", " \t "):
        item = spend(card, 10, idempotency_key=empty)
        answer = await http.post("/redemptions/batch", json={"redemptions": [item]})
        (line,) = answer.json()["data"]
        assert (line["status"], line["problem"]["code"]) == (400, "idempotency_key_required")


async def test_a_key_that_is_called_null_is_a_key_on_every_route(
    http: httpx.AsyncClient, filled: dict[str, tuple[str, Any]]
) -> None:
    address, body = filled["/loads"]
    first = await post(http, address, body, under="null")
    assert first.status_code == 201, first.text
    again = await post(http, address, body, under="null")
    assert again.headers["idempotency-replayed"] == "true"
    address, body = filled["/redemptions"]
    problem(await post(http, address, body, under="null"), 422, "idempotency_key_reused")


REFUSED = (
    ("/cards", {"amount": 10**12}, {"amount": 5}, 201),
    ("/redemptions", {"amount": 900, "currency": "EUR"}, {"amount": 9, "currency": "EUR"}, 201),
    ("/holds", {"amount": 900, "currency": "EUR"}, {"amount": 9, "currency": "EUR"}, 201),
    ("/adjustments", {"amount": -900, "reason": "x"}, {"amount": -9, "reason": "x"}, 201),
    ("/transfers", {"amount": 900}, {"amount": 9}, 201),
    ("/refunds", {"amount": 900}, {"amount": 9}, 201),
    ("capture", {"amount": 900}, {"amount": 9}, 200),
    ("/programs", {"min_amount": 9}, {"min_amount": 1}, 201),
)


@pytest.mark.parametrize(("path", "wrong", "right", "status"), REFUSED)
async def test_a_refusal_does_not_use_up_the_key(
    http: httpx.AsyncClient, shop: Shop, path: str, wrong: Json, right: Json, status: int
) -> None:
    card, other = await issue(http, shop, 100), await issue(http, shop, 100)
    names: dict[str, Json] = {
        "/cards": {"program": shop.program},
        "/transfers": {"from": card["id"], "to": other["id"]},
        "/programs": {"name": "P", "currency": "EUR", "max_amount": 5},
        "capture": {},
    }
    if path == "/cards":
        few = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 50}
        names[path] = {"program": (await made(http, "/programs", few))["id"]}
    if path == "/refunds":
        names[path] = {"redemption": (await redeem(http, card, 20))["id"]}
    address = path
    if path == "capture":
        address = f"/holds/{(await made(http, '/holds', spend(card, 20)))['id']}/capture"
    named = names.get(path, {"card": card["id"]})
    under = f"not burnt {path}"
    assert (await post(http, address, named | wrong, under=under)).status_code in {402, 422}
    answer = await post(http, address, named | right, under=under)
    assert answer.status_code == status, answer.text
    assert "idempotency-replayed" not in answer.headers
    # Now the key is used: also for the request that was refused before.
    late = await post(http, address, named | wrong, under=under)
    assert late.status_code == 422, late.text
    await balanced(http)


async def test_keys_belong_to_a_merchant(
    http: httpx.AsyncClient, api: Instance, shop: Shop, owner: Any, database: Database
) -> None:
    theirs = await make_shop(owner, database)
    mine = await post(http, "/cards", {"program": shop.program, "amount": 5}, under="shared")
    async with httpx.AsyncClient(base_url=f"{api.base}/api/v1", headers=theirs.headers) as their:
        answer = await post(their, "/cards", {"program": theirs.program, "amount": 5},
                            under="shared")  # fmt: skip
    assert answer.status_code == 201
    assert "idempotency-replayed" not in answer.headers
    assert answer.json()["id"] != mine.json()["id"]


async def test_an_item_of_a_batch_is_the_request_sent_alone(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    alone = await post(http, "/redemptions", spend(card, 10), under="alone")
    items = [spend(card, 10, idempotency_key="alone"), spend(card, 20, idempotency_key="item")]
    answer = await http.post("/redemptions/batch", json={"redemptions": items})
    first, second = answer.json()["data"]
    assert (first["status"], first["redemption"]) == (201, alone.json())
    again = await post(http, "/redemptions", spend(card, 20), under="item")
    assert again.json() == second["redemption"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 70


async def test_simulating_needs_and_uses_no_key(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    for headers in ({}, {"Idempotency-Key": "unused"}):
        body = spend(card, 30, simulate=True)
        answer = await http.post("/redemptions", json=body, headers=headers)
        assert (answer.status_code, answer.json()["balance"]) == (200, 70)
        assert "idempotency-replayed" not in answer.headers
        assert answer.json()["id"] == f"red_{'0' * 32}", "nothing that anybody could ask for"
        problem(await http.get(f"/redemptions/{answer.json()['id']}"), 404, "not_found")
    spent = await post(http, "/redemptions", spend(card, 40), under="unused")
    assert (spent.status_code, spent.json()["balance"]) == (201, 60)


@pytest.mark.parametrize(
    "change", ["block", "unblock", "close", "rotate-code", "reset-pin", "reinstate"]
)
async def test_an_optional_key_is_honoured(
    http: httpx.AsyncClient, shop: Shop, change: str
) -> None:
    card = await issue(http, shop, 100)
    if change == "close":
        await redeem(http, card, 100)
    path = f"/cards/{card['id']}/{change}"
    first = await post(http, path, under=f"{change} once")
    again = await post(http, path, under=f"{change} once")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = await issue(http, shop, 100)
    answer = await post(http, f"/cards/{other['id']}/{change}", under=f"{change} once")
    problem(answer, 422, "idempotency_key_reused")


async def test_a_program_is_made_once(http: httpx.AsyncClient) -> None:
    body = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5}
    answers = await asyncio.gather(*(post(http, "/programs", body, under="p") for _ in range(10)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    answer = await post(http, "/programs", body | {"name": "Q"}, under="p")
    problem(answer, 422, "idempotency_key_reused")


async def test_an_api_key_is_made_once_under_its_key(http: httpx.AsyncClient) -> None:
    body = {"name": "till", "scopes": ["cards:read"]}
    first, *again = await asyncio.gather(
        *(post(http, "/api-keys", body, under="one-key") for _ in range(5))
    )
    answers = [first, *again]
    assert [answer.status_code for answer in answers] == [201] * 5, first.text
    assert len({answer.json()["id"] for answer in answers}) == 1
    shown = [answer for answer in answers if "secret" in answer.json()]
    assert len(shown) == 1
    assert "idempotency-replayed" not in shown[0].headers
    for answer in answers:
        if answer is not shown[0]:
            assert answer.headers["idempotency-replayed"] == "true"
            assert answer.json() == {k: v for k, v in shown[0].json().items() if k != "secret"}
    other = await post(http, "/api-keys", body | {"name": "other"}, under="one-key")
    problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize("secret", ["rotate-code", "reset-pin"])
async def test_a_repeated_sale_never_shows_a_secret_that_came_after_it(
    http: httpx.AsyncClient, shop: Shop, secret: str
) -> None:
    body = {"program": shop.program, "amount": 100}
    sold = (await post(http, "/cards", body, under=f"sale {secret}")).json()
    again = (await post(http, "/cards", body, under=f"sale {secret}")).json()
    assert again == sold
    await made(http, f"/cards/{sold['id']}/{secret}", status=200)
    late = await post(http, "/cards", body, under=f"sale {secret}")
    assert late.headers["idempotency-replayed"] == "true"
    assert late.json()["code"] is None
