"""Races over HTTP: concurrent requests take effect once, on one instance and on two."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from itertools import cycle

import httpx
import pytest

from tests.conftest import Urls
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
from tests.support.instance import Instance, Shop, instance

Clients = list[httpx.AsyncClient]


@pytest.fixture(scope="module")
def second(urls: Urls) -> Iterator[Instance]:
    """Another instance on the same database."""
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20") as running:
        yield running


@pytest.fixture(params=["one instance", "two instances"])
async def clients(
    request: pytest.FixtureRequest, api: Instance, second: Instance, shop: Shop
) -> AsyncGenerator[Clients]:
    """A client for each instance that takes part."""
    serving = [api] if request.param == "one instance" else [api, second]
    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"{one.base}/api/v1", headers=shop.headers, limits=limits, timeout=60
                )
            )
            for one in serving
        ]


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def card_of(clients: Clients, card: Json) -> Json:
    """The card, as every instance sees it."""
    seen = [await read(client, f"/cards/{card['id']}") for client in clients]
    assert all(one == seen[0] for one in seen)
    return seen[0]


@pytest.mark.slow
@pytest.mark.parametrize("named", ["card", "code"])
async def test_as_many_redemptions_as_the_card_covers(
    clients: Clients, shop: Shop, named: str
) -> None:
    card = await issue(clients[0], shop, 100)
    body = {named: card["id" if named == "card" else "code"], "amount": 1, "currency": "EUR"}
    turn = cycle(clients)
    answers = await together(post(next(turn), "/redemptions", body) for _ in range(500))
    assert statuses(answers) == {201: 100, 402: 400}
    for answer in answers:
        if answer.status_code == 402:
            assert problem(answer, 402, "insufficient_funds")["available"] == 0
    took = [answer.json() for answer in answers if answer.status_code == 201]
    assert len({redemption["id"] for redemption in took}) == 100
    assert sorted(redemption["balance"] for redemption in took) == list(range(100))
    after = await card_of(clients, card)
    assert (after["balance"], after["held"], after["available"]) == (0, 0, 0)
    await balanced(clients[0])


async def test_a_refusal_says_what_is_available(clients: Clients, shop: Shop) -> None:
    card = await issue(clients[0], shop, 100)
    turn = cycle(clients)
    answers = await together(post(next(turn), "/redemptions", spend(card, 30)) for _ in range(40))
    assert statuses(answers) == {201: 3, 402: 37}
    refused = [
        problem(answer, 402, "insufficient_funds")["available"]
        for answer in answers
        if answer.status_code == 402
    ]
    assert set(refused) == {10}
    await balanced(clients[0])


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/cards", {"amount": 70}),
        ("/redemptions", {"amount": 7, "currency": "EUR"}),
        ("/holds", {"amount": 7, "currency": "EUR"}),
        ("/loads", {"amount": 7}),
        ("/adjustments", {"amount": -7, "reason": "counted wrong"}),
        ("/refunds", {"amount": 7}),
        ("/transfers", {"amount": 7}),
    ],
)
async def test_one_key_has_one_effect_and_one_answer(
    clients: Clients, shop: Shop, path: str, more: Json
) -> None:
    card = await issue(clients[0], shop, 100)
    names: dict[str, Json] = {"/cards": {"program": shop.program}}
    if path == "/refunds":
        names[path] = {"redemption": (await redeem(clients[0], card, 50))["id"]}
    if path == "/transfers":
        names[path] = {"from": card["id"], "to": (await issue(clients[0], shop, 100))["id"]}
    body = {**names.get(path, {"card": card["id"]}), **more}
    under = f"fifty of {path} on {len(clients)}"
    turn = cycle(clients)
    answers = await together(post(next(turn), path, body, under=under) for _ in range(50))
    assert statuses(answers) == {201: 50}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert {answer.headers.get("idempotency-replayed", "true") for answer in answers} == {"true"}
    moved = {"/redemptions": -7, "/loads": 7, "/adjustments": -7, "/refunds": -43, "/transfers": -7}
    after = await card_of(clients, card)
    assert after["balance"] == 100 + moved.get(path, 0)
    assert after["held"] == (7 if path == "/holds" else 0)
    if path == "/cards":
        assert answers[0].json()["code"] is not None
        assert len((await read(clients[0], "/cards", limit=100))["data"]) == 2
    await balanced(clients[0])


async def test_refunds_never_exceed_the_redemption(clients: Clients, shop: Shop) -> None:
    card = await issue(clients[0], shop, 100)
    redemption = await redeem(clients[0], card, 100)
    turn = cycle(clients)
    answers = await together(
        post(next(turn), "/refunds", {"redemption": redemption["id"], "amount": 7})
        for _ in range(60)
    )
    assert statuses(answers) == {201: 14, 402: 46}
    for answer in answers:
        if answer.status_code == 402:
            problem(answer, 402, "refund_exceeds_redemption")
    again = await read(clients[-1], f"/redemptions/{redemption['id']}")
    assert again["refunded"] == 98
    assert (await card_of(clients, card))["balance"] == 98
    # A refund without an amount returns the remainder, once.
    rest = await together(
        post(next(turn), "/refunds", {"redemption": redemption["id"]}) for _ in range(20)
    )
    assert statuses(rest) == {201: 1, 402: 19}
    assert (await card_of(clients, card))["balance"] == 100
    await balanced(clients[0])


async def test_a_hold_resolves_once(clients: Clients, shop: Shop) -> None:
    cards = [await issue(clients[0], shop, 100) for _ in range(8)]
    holds = [await made(clients[0], "/holds", spend(card, 60)) for card in cards]
    turn = cycle(clients)
    answers = await together(
        post(next(turn), f"/holds/{hold['id']}/{verb}")
        for _ in range(6)
        for hold in holds
        for verb in ("capture", "void")
    )
    assert statuses(answers) == {200: 8, 402: 88}
    for answer in answers:
        if answer.status_code == 402:
            problem(answer, 402, "hold_not_open")
    won = {answer.json()["id"]: answer.json() for answer in answers if answer.status_code == 200}
    for card, hold in zip(cards, holds, strict=True):
        now = await read(clients[-1], f"/holds/{hold['id']}")
        assert now == won[hold["id"]]
        after = await card_of(clients, card)
        assert after["held"] == 0
        assert after["balance"] == (40 if now["state"] == "captured" else 100)
        assert (now["redemption"] is not None) == (now["state"] == "captured")
    await balanced(clients[0])


async def test_holds_and_redemptions_share_what_is_there(clients: Clients, shop: Shop) -> None:
    card = await issue(clients[0], shop, 50)
    turn = cycle(clients)
    answers = await together(
        post(next(turn), path, spend(card, 1))
        for _ in range(100)
        for path in ("/holds", "/redemptions")
    )
    assert statuses(answers) == {201: 50, 402: 150}
    held = sum(answer.json()["object"] == "hold" for answer in answers if answer.status_code == 201)
    after = await card_of(clients, card)
    assert (after["held"], after["balance"], after["available"]) == (held, held, 0)
    await balanced(clients[0])


async def test_transfers_both_ways_conserve_money(clients: Clients, shop: Shop) -> None:
    here, there = await issue(clients[0], shop, 40), await issue(clients[0], shop, 40)
    ways = [(here["id"], there["id"]), (there["id"], here["id"])]
    turn = cycle(clients)
    answers = await together(
        post(next(turn), "/transfers", {"from": one, "to": other, "amount": 5})
        for _ in range(60)
        for one, other in ways
    )
    assert set(statuses(answers)) <= {201, 402}
    moved: Counter[str] = Counter()
    for answer in answers:
        if answer.status_code == 201:
            moved[answer.json()["from"]] += 5
        else:
            problem(answer, 402, "insufficient_funds")
    left, right = await card_of(clients, here), await card_of(clients, there)
    assert left["balance"] + right["balance"] == 80
    assert left["balance"] == 40 - moved[here["id"]] + moved[there["id"]]
    assert min(left["balance"], right["balance"]) >= 0
    await balanced(clients[0])


async def test_crossed_batches_with_shared_keys(clients: Clients, shop: Shop) -> None:
    """Two batches with the same keys and cards in opposite orders do not deadlock."""
    cards = [await issue(clients[0], shop, 100) for _ in range(40)]
    items = [
        spend(card, 60, idempotency_key=f"crossed {len(clients)} {n}")
        for n, card in enumerate(cards)
    ]
    orders = [items, items[::-1]]
    turn = cycle(clients)
    answers = await together(
        next(turn).post("/redemptions/batch", json={"redemptions": orders[n % 2]}) for n in range(8)
    )
    assert statuses(answers) == {200: 8}
    by_card: dict[str, set[str]] = {}
    for answer in answers:
        for line in answer.json()["data"]:
            assert line["status"] == 201, line
            by_card.setdefault(line["redemption"]["card"], set()).add(line["redemption"]["id"])
    assert {len(ids) for ids in by_card.values()} == {1}
    assert len(by_card) == 40
    assert {(await card_of(clients, card))["balance"] for card in cards} == {40}
    await balanced(clients[0])
