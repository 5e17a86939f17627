"""Code guessing: wrong codes count on every route and instance; honest clients are not limited."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from florin.cards import codes
from florin.identity.scopes import SCOPES
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import Json, issue, key, made, post, problem, spend
from tests.support.instance import NO_TLS, Instance, Shop, instance, make_shop
from tests.support.valkey_server import memory

ADDRESS, PRINCIPAL, PREFIX = 8, 16, 4
NETWORK, NAMING_KEY = 10 * ADDRESS, 110


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two instances that share a Valkey, and one that has none."""

    one: Instance
    other: Instance
    alone: Instance


@pytest.fixture(scope="module")
def fleet(urls: Urls) -> Iterator[Fleet]:
    limits = {
        "FLORIN_GUESSES_PER_ADDRESS": str(ADDRESS),
        "FLORIN_GUESSES_PER_PRINCIPAL": str(PRINCIPAL),
        "FLORIN_GUESSES_PER_PREFIX": str(PREFIX),
        "FLORIN_GUESSES_PER_NAMING_KEY": str(NAMING_KEY),
        "FLORIN_TRUSTED_PROXIES": "127.0.0.1/32",
        "FLORIN_LIMIT_PATIENCE_MS": "1000",  # on a busy machine responses may be late
    }
    database = f"{urls.app}?connection_limit=10&pool_timeout=20"
    with ExitStack() as stack:
        url = stack.enter_context(memory()).url
        yield Fleet(
            stack.enter_context(instance(database, REDIS_URL=url, **limits)),
            stack.enter_context(instance(database, REDIS_URL=url, **limits)),
            stack.enter_context(
                instance(
                    database, **{**limits, "FLORIN_TRUSTED_PROXIES": "", "FLORIN_LIMIT_SHARES": "1"}
                )
            ),
        )


@pytest.fixture
async def clients(fleet: Fleet, shop: Shop) -> AsyncGenerator[list[httpx.AsyncClient]]:
    async with (
        client(fleet.one, shop) as one,
        client(fleet.other, shop) as other,
        client(fleet.alone, shop) as alone,
    ):
        yield [one, other, alone]


def client(at: Instance, shop: Shop) -> httpx.AsyncClient:
    # Loopback is a trusted proxy: each test uses client addresses of its own.
    headers = {**shop.headers, "x-forwarded-for": place()}
    base = f"{at.base}/api/v1"
    return httpx.AsyncClient(base_url=base, headers=headers, timeout=60, verify=NO_TLS)


def place() -> str:
    return f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"


def from_(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


async def guess(http: httpx.AsyncClient, how: str, code: str, **headers: str) -> httpx.Response:
    if how == "look-up":
        return await http.post("/cards/lookup", json={"code": code}, headers=headers)
    body = {"code": code, "amount": 1, "currency": "EUR"}
    if how == "batch":
        item = {**body, "idempotency_key": uuid.uuid4().hex}
        json = {"redemptions": [item]}
        return await http.post("/redemptions/batch", json=json, headers=headers)
    path = "/holds" if how == "hold" else "/redemptions"
    if how == "simulate":
        return await http.post(path, json={**body, "simulate": True}, headers=headers)
    return await http.post(path, json=body, headers={**key(), **headers})


def code_of(answer: httpx.Response) -> str:
    """The code of the refusal; for a batch, that of its only item."""
    body: Json = answer.json()
    return body["data"][0]["problem"]["code"] if body.get("object") == "list" else body["code"]


WAYS = ["look-up", "redeem", "simulate", "batch", "hold"]


async def test_wrong_codes_are_counted_together_wherever_they_are_tried(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    one, other, _ = clients
    other.headers["x-forwarded-for"] = one.headers["x-forwarded-for"]
    card = await issue(one, shop)
    for number in range(ADDRESS):
        answer = await guess(clients[number % 2], WAYS[number % 5], codes.make_code())
        assert code_of(answer) == "card_not_found"
    for way in WAYS:
        for http in (one, other):
            for code in (card["code"], codes.make_code(), "rubbish"):
                answer = await guess(http, way, code)
                assert code_of(answer) == "rate_limited", (way, code)
                if way != "batch":
                    refused = problem(answer, 429, "rate_limited")
                    assert 1 <= int(answer.headers["retry-after"]) <= 600
                    assert refused["retry_after"] == int(answer.headers["retry-after"])
    # Nothing was spent, and requests by the card's id are not limited.
    found = await one.get(f"/cards/{card['id']}")
    assert (found.json()["balance"], found.json()["held"]) == (1000, 0)
    await made(one, "/redemptions", spend(card, 10))


async def test_the_guesses_of_one_client_do_not_block_others(
    clients: list[httpx.AsyncClient], shop: Shop, fleet: Fleet, owner: Any, database: Database
) -> None:
    one = clients[0]
    card = await issue(one, shop)
    for _ in range(ADDRESS):
        await guess(one, "look-up", codes.make_code())
    assert (await guess(one, "look-up", card["code"])).status_code == 429
    elsewhere = await guess(one, "look-up", card["code"], **from_(place()))
    assert elsewhere.status_code == 200, "the same key from another address"
    neighbour = await make_shop(owner, database)
    async with client(fleet.one, neighbour) as http:
        http.headers["x-forwarded-for"] = one.headers["x-forwarded-for"]
        theirs = await issue(http, neighbour)
        assert (await guess(http, "look-up", theirs["code"])).status_code == 200
        problem(await guess(http, "look-up", card["code"]), 404, "card_not_found")


async def test_a_principal_is_counted_over_all_addresses(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    card = await issue(clients[0], shop)
    for number in range(PRINCIPAL):
        answer = await guess(clients[number % 2], "look-up", codes.make_code(), **from_(place()))
        problem(answer, 404, "card_not_found")
    for http in clients[:2]:
        answer = await guess(http, "redeem", card["code"], **from_(place()))
        problem(answer, 429, "rate_limited")


async def test_a_code_known_in_part_is_not_completed_by_trying(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    card = await issue(clients[0], shop)
    known = card["code"].replace("-", "")[:8]
    for number in range(PREFIX):
        answer = await guess(clients[number % 2], "hold", beginning(known), **from_(place()))
        problem(answer, 404, "card_not_found")
    answer = await guess(clients[1], "redeem", card["code"], **from_(place()))
    problem(answer, 429, "rate_limited")
    another = await issue(clients[0], shop)
    assert (await guess(clients[1], "redeem", another["code"], **from_(place()))).is_success


def beginning(known: str) -> str:
    while True:
        rest = "".join(random.choices(codes.ALPHABET, k=codes.LENGTH - len(known)))
        try:
            return codes.read_code(known + rest)
        except codes.CodeMalformed:
            continue


async def test_a_batch_with_too_many_wrong_codes_is_limited(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    one = clients[0]
    good = [await issue(one, shop) for _ in range(2)]
    wrong = [codes.make_code() for _ in range(400)]
    tried = [good[0]["code"], *wrong, good[1]["code"]]
    items = [
        {"code": code, "amount": 7, "currency": "EUR", "idempotency_key": uuid.uuid4().hex}
        for code in tried
    ]
    answer = await one.post("/redemptions/batch", json={"redemptions": items})
    lines: list[Json] = answer.json()["data"]
    assert [line["status"] for line in lines] == [201] + [404] * ADDRESS + [429] * (401 - ADDRESS)
    assert all(line["problem"]["retry_after"] >= 1 for line in lines if line["status"] == 429)
    assert (await one.get(f"/cards/{good[1]['id']}")).json()["balance"] == 1000
    assert (await one.get(f"/cards/{good[0]['id']}")).json()["balance"] == 993


async def test_successful_requests_are_not_limited(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    one = clients[0]
    card = await issue(one, shop)
    for _ in range(ADDRESS - 1):
        problem(await guess(one, "look-up", codes.make_code()), 404, "card_not_found")
    for way in WAYS:
        answers = await asyncio.gather(*(guess(one, way, card["code"]) for _ in range(30)))
        assert all(answer.is_success for answer in answers)
    empty = await issue(one, shop, 1)
    assert (await guess(one, "redeem", empty["code"])).status_code == 201
    for _ in range(2 * ADDRESS):  # correct codes, although the requests are refused
        problem(await guess(one, "redeem", empty["code"]), 402, "insufficient_funds")


async def test_a_malformed_code_is_no_guess(clients: list[httpx.AsyncClient], shop: Shop) -> None:
    """Any number, in any form: a client with a broken scanner is not blocked."""
    card = await issue(clients[0], shop)
    right = card["code"]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    for http in (clients[0], clients[2]):
        for number in range(10 * ADDRESS):
            for code in (wrong, f"{right}#", "rubbish"):
                answer = await guess(http, WAYS[number % 5], code)
                assert code_of(answer) == "code_malformed", number
        assert (await guess(http, "look-up", right)).status_code == 200


async def test_codes_with_a_line_end_are_not_counted_as_wrong(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    card = await issue(clients[0], shop)
    for number in range(20 * ADDRESS):
        answer = await guess(clients[0], WAYS[number % 5], f"{card['code']}\r\n")
        assert answer.is_success, answer.text


async def test_without_valkey_an_instance_counts_by_itself(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    alone = clients[2]
    card = await issue(alone, shop)
    for _ in range(ADDRESS):
        # No proxy is trusted here: the header with the client address is ignored.
        answer = await guess(alone, "look-up", codes.make_code(), **from_(place()))
        problem(answer, 404, "card_not_found")
    problem(await guess(alone, "redeem", card["code"], **from_(place())), 429, "rate_limited")


async def test_concurrent_attempts_are_counted_exactly(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    """Any number of requests may run before the first one is counted."""
    here = place()
    card = await issue(clients[0], shop)
    answers = await asyncio.gather(
        *(guess(clients[n % 2], "look-up", codes.make_code(), **from_(here)) for n in range(60))
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(404) <= ADDRESS
    assert statuses.count(404) + statuses.count(429) == 60
    problem(await guess(clients[0], "look-up", card["code"], **from_(here)), 429, "rate_limited")


async def test_requests_are_limited_where_a_setting_says_so(
    urls: Urls, shop: Shop, owner: Any, database: Database
) -> None:
    with instance(urls.app, FLORIN_REQUESTS_PER_MINUTE="10", FLORIN_LIMIT_SHARES="1") as limited:
        async with client(limited, shop) as http:
            begun, let_through = time.monotonic(), 0
            while (answer := await http.get(("/cards", "/programs")[let_through % 2])).is_success:
                let_through += 1
                assert let_through < 100
            problem(answer, 429, "rate_limited")
            assert 10 <= let_through <= 10 + (time.monotonic() - begun) / 6 + 1
            async with asyncio.timeout(60):  # one is admitted every six seconds
                while (answer := await post(http, "/redemptions", {})).status_code != 429:
                    pass
            problem(answer, 429, "rate_limited")
            assert int(answer.headers["retry-after"]) <= 6
            assert (await http.get(f"{limited.base}/health/live")).status_code == 200
        async with client(limited, await make_shop(owner, database)) as http:
            assert (await http.get("/cards")).status_code == 200


def named(address: str) -> dict[str, str]:
    return {"florin-client-ip": address}


async def test_guesses_of_one_end_client_do_not_block_the_calling_server(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    """The server of a web shop names each visitor; three of them guess as often as possible."""
    card = await issue(clients[0], shop)
    visitors = [place() for _ in range(3)]
    for number in range(ADDRESS):
        for visitor in visitors:
            answer = await guess(
                clients[number % 2], WAYS[number % 5], codes.make_code(), **named(visitor)
            )
            assert code_of(answer) == "card_not_found"
    assert len(visitors) * ADDRESS > PRINCIPAL
    for http in clients[:2]:
        for way in WAYS:
            for visitor in visitors:
                answer = await guess(http, way, card["code"], **named(visitor))
                assert code_of(answer) == "rate_limited", way
            for other in (named(place()), named("203.0.113.7"), {}):
                assert (await guess(http, way, card["code"], **other)).is_success, (way, other)


async def test_a_client_with_many_addresses_blocks_its_own_network_only(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    http = clients[0]
    card = await issue(http, shop)
    network = ":".join(place().split(":")[:3])

    def site(number: int) -> dict[str, str]:
        return named(f"{network}:{number:x}::1")

    await asyncio.gather(
        *(guess(http, "look-up", codes.make_code(), **site(n)) for n in range(NETWORK + 20))
    )
    problem(await guess(http, "redeem", card["code"], **site(0xFFFF)), 429, "rate_limited")
    for other in (named(place()), {}):
        assert (await guess(http, "redeem", card["code"], **other)).is_success


async def test_a_key_that_invents_client_addresses_is_limited(
    clients: list[httpx.AsyncClient], shop: Shop
) -> None:
    http = clients[0]
    card = await issue(http, shop)
    for _ in range(2):
        await asyncio.gather(
            *(
                guess(http, "look-up", codes.make_code(), **named(place()))
                for _ in range(NAMING_KEY)
            )
        )
    problem(await guess(http, "redeem", card["code"], **named(place())), 429, "rate_limited")
    assert (await guess(http, "redeem", card["code"])).is_success, "its server, for itself"


@pytest.mark.parametrize("way", WAYS)
async def test_naming_a_client_needs_the_scope_and_a_valid_address(
    fleet: Fleet, owner: Any, database: Database, way: str
) -> None:
    shop = await make_shop(owner, database)
    other = await make_shop(owner, database, scopes=SCOPES - {"clients:name"})
    async with client(fleet.one, shop) as http, client(fleet.one, other) as without:
        for wrong in ("somewhere", "203.0.113.7:80", "203.0.113.7, 10.0.0.1", "[::1]", "300.1.1.1"):
            answer = await guess(http, way, codes.make_code(), **named(wrong))
            problem(answer, 422, "invalid_request", param="Florin-Client-Ip")
        refused = await guess(without, way, codes.make_code(), **named("203.0.113.7"))
        assert "clients:name" in problem(refused, 403, "forbidden")["detail"]


async def test_a_client_is_named_once(clients: list[httpx.AsyncClient]) -> None:
    """With two headers, another server might use the other one."""
    named_twice = [("florin-client-ip", "203.0.113.7"), ("florin-client-ip", "203.0.113.8")]
    body = {"code": codes.make_code()}
    answer = await clients[0].post("/cards/lookup", json=body, headers=named_twice)
    problem(answer, 422, "invalid_request")
