"""Codes of other systems: who may use them, and stricter limits on guessing the short ones."""

import httpx
import pytest

from florin.cards.code_guessing import SHORT_WEIGHT, guess_weight
from tests.support.api_calls import made, problem
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import client_of

GUESSES = 30  # FLORIN_GUESSES_PER_ADDRESS by default


async def accept(http: httpx.AsyncClient) -> None:
    body = {"name": "Moved", "currency": "EUR", "min_amount": 1, "max_amount": 100}
    await made(http, "/programs", body | {"imported_codes": True})


@pytest.mark.parametrize(("code", "weight"), [("GU-7Q2M9", 5), ("1234567890123456", 1)])
async def test_a_short_wrong_code_counts_five_times(
    http: httpx.AsyncClient, code: str, weight: int
) -> None:
    await accept(http)
    assert guess_weight(code) == weight
    for n in range(GUESSES // weight):
        wrong = code[:-2] + f"{n:02}"
        answer = await http.post("/cards/lookup", json={"code": wrong})
        problem(answer, 404, "card_not_found")
        if weight == 1 and n == GUESSES // SHORT_WEIGHT:
            return  # a short code would be refused by now
    answer = await http.post("/cards/lookup", json={"code": code})
    problem(answer, 429, "rate_limited")


async def test_a_merchant_without_such_programs_is_not_concerned(
    http: httpx.AsyncClient, api: Instance, shop: Shop, owner: object, database: object
) -> None:
    await accept(http)
    problem(await http.post("/cards/lookup", json={"code": "LOTUS77"}), 404, "card_not_found")
    spend = {"code": "LOTUS77", "amount": 1, "currency": "EUR"}
    headers = {"idempotency-key": "one"}
    problem(await http.post("/redemptions", json=spend, headers=headers), 404, "card_not_found")
    other = await make_shop(owner, database)  # type: ignore[arg-type]
    async with client_of(api, **other.headers) as theirs:
        for _ in range(GUESSES + 1):
            answer = await theirs.post("/cards/lookup", json={"code": "LOTUS77"})
            problem(answer, 422, "code_malformed")
        answer = await theirs.post("/redemptions", json=spend, headers=headers)
        problem(answer, 422, "code_malformed")
    del shop
