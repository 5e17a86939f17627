"""The smallest thing that must work: a card, over HTTP."""

import httpx

from tests.support.instance import Shop


async def test_a_card_is_issued(http: httpx.AsyncClient, shop: Shop) -> None:
    answer = await http.post(
        "/cards",
        json={"program": shop.program, "amount": 100},
        headers={"Idempotency-Key": "first"},
    )
    assert answer.status_code == 201, answer.text
    card = answer.json()
    assert (card["state"], card["balance"], card["available"]) == ("active", 100, 100)
