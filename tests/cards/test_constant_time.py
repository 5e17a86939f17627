"""Unknown objects and those of other merchants get the same response in the same time."""

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from florin.cards import codes
from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import issue, key
from tests.support.instance import Instance, Shop, instance, make_shop
from tests.support.timing_comparison import often

ROUNDS = 250
TRIES = 4


@pytest.fixture(scope="module")
def api(urls: Urls) -> Iterator[Instance]:
    """An instance without limits on guesses: the test sends many wrong codes."""
    limits = dict.fromkeys(("ADDRESS", "PRINCIPAL", "PREFIX"), "0")
    settings = {f"FLORIN_GUESSES_PER_{name}": value for name, value in limits.items()}
    with instance(f"{urls.app}?connection_limit=4", **settings) as running:
        yield running


@pytest.fixture
async def foreign(api: Instance, owner: Any, database: Database) -> list[dict[str, Any]]:
    """Cards of another merchant, one in each state."""
    other = await make_shop(owner, database)
    async with httpx.AsyncClient(base_url=f"{api.base}/api/v1", headers=other.headers) as http:
        cards = [await issue(http, other) for _ in range(3)]
        cards.append(await issue(http, other, activate=False))
        await http.post(f"/cards/{cards[1]['id']}/block")
        drained = {"card": cards[2]["id"], "amount": 1000, "currency": "EUR"}
        await http.post("/redemptions", json=drained, headers=key())
        await http.post(f"/cards/{cards[2]['id']}/close")
    return cards


def scrubbed(answer: httpx.Response) -> tuple[int, dict[str, Any], set[str]]:
    body = answer.json()
    assert body.pop("request_id")
    return answer.status_code, body, set(answer.headers)


async def test_an_unknown_code_and_anothers_are_answered_alike(
    http: httpx.AsyncClient, foreign: list[dict[str, Any]]
) -> None:
    def body(code: str) -> dict[str, Any]:
        return {"code": code, "amount": 1, "currency": "EUR"}

    asks: list[Callable[[str], Awaitable[httpx.Response]]] = [
        lambda code: http.post("/cards/lookup", json={"code": code}),
        lambda code: http.post("/redemptions", json=body(code), headers=key()),
        lambda code: http.post("/redemptions", json={**body(code), "simulate": True}),
        lambda code: http.post("/holds", json=body(code), headers=key()),
    ]
    for ask in asks:
        expected = scrubbed(await ask(codes.make_code()))
        assert expected[0] == 404
        for card in foreign:
            assert scrubbed(await ask(card["code"])) == expected


async def test_an_unknown_id_and_anothers_are_answered_alike(
    http: httpx.AsyncClient, foreign: list[dict[str, Any]]
) -> None:
    unknown = ids.show_id("crd", ids.new_id())
    for path in ("", "/entries"):
        expected = scrubbed(await http.get(f"/cards/{unknown}{path}"))
        for card in foreign:
            assert scrubbed(await http.get(f"/cards/{card['id']}{path}")) == expected
    for verb in ("activate", "block", "unblock", "close", "reinstate", "rotate-code", "reset-pin"):
        expected = scrubbed(await http.post(f"/cards/{unknown}/{verb}", headers=key()))
        assert expected[0] == 404
        for card in foreign:
            answer = await http.post(f"/cards/{card['id']}/{verb}", headers=key())
            assert scrubbed(answer) == expected


async def test_unknown_and_foreign_objects_take_the_same_time(
    http: httpx.AsyncClient, shop: Shop, foreign: list[dict[str, Any]]
) -> None:
    """Alternate both requests and count how often one is slower: without a difference, half of the
    rounds. A busy machine slows both. For 250 rounds the standard deviation is 0.026; 0.16 is six.
    """
    mine = await issue(http, shop)
    # A real difference shows in every try; load from other processes does not.
    unknown: list[float] = []
    while len(unknown) < TRIES and not (unknown and abs(unknown[-1] - 0.5) < 0.16):
        unknown.append(often(*await seconds(http, codes.make_code, lambda: foreign[0]["code"])))
    assert abs(unknown[-1] - 0.5) < 0.16, unknown
    # The measure does detect a difference: a malformed code is refused before the look-up.
    wrong = mine["code"][:-1] + ("0" if mine["code"][-1] != "0" else "1")
    different: list[float] = []
    while len(different) < TRIES and not (different and different[-1] > 0.66):
        different.append(often(*await seconds(http, codes.make_code, lambda: wrong)))
    assert different[-1] > 0.66, different


async def seconds(
    http: httpx.AsyncClient, one: Callable[[], str], other: Callable[[], str]
) -> tuple[list[float], list[float]]:
    taken: tuple[list[float], list[float]] = ([], [])
    for round_ in range(ROUNDS):
        for which in (0, 1) if round_ % 2 else (1, 0):
            code = (one, other)[which]()
            headers = {"x-request-id": uuid.uuid4().hex}
            started = time.perf_counter()
            await http.post("/cards/lookup", json={"code": code}, headers=headers)
            taken[which].append(time.perf_counter() - started)
    return taken
