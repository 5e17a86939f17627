"""Batch limits: what is too large or has too much is refused by the item."""

import json
from typing import Any

import httpx

from florin.cards.requests import BATCH_ITEM_MAX
from tests.support.api_calls import issue, read, spend
from tests.support.instance import Shop


async def test_an_item_that_is_too_much_harms_no_other(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    right: dict[str, Any] = spend(card, 1, idempotency_key="right")
    long = json.dumps(right | {"reference": "x" * BATCH_ITEM_MAX})
    names = json.dumps(right | {f"{n}": 1 for n in range(300)})
    lists = json.dumps(right | {"metadata": [[]] * 100})
    twice = json.dumps(right)[:-1] + ',"amount":2}'
    items = ",".join([long, names, lists, twice, json.dumps(right)])
    answer = await http.post("/redemptions/batch", content=f'{{"redemptions":[{items}]}}')
    assert answer.status_code == 200, answer.text
    lines = answer.json()["data"]
    assert [line["status"] for line in lines] == [413, 422, 422, 422, 201]
    assert lines[3]["problem"]["param"] == "amount"
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 99


async def test_the_longest_right_item_is_taken(http: httpx.AsyncClient, shop: Shop) -> None:
    """Of characters that take four bytes each."""
    card = await issue(http, shop, 100)
    metadata = {f"{n:02}" + "\U0001f381" * 38: "\U0001f381" * 500 for n in range(50)}
    text = {"reference": "\U0001f381" * 255, "metadata": metadata}
    item = json.dumps(spend(card, 1, idempotency_key="long", **text), ensure_ascii=False)
    assert len(item.encode()) > BATCH_ITEM_MAX * 3 // 4
    content = f'{{"redemptions":[{item}]}}'.encode()
    (line,) = (await http.post("/redemptions/batch", content=content)).json()["data"]
    assert line["status"] == 201, line
