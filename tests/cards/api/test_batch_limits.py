"""Batch limits: an item that is too large is refused on its own."""

import asyncio
import json
import warnings
from importlib import import_module
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from florin.cards.requests import BATCH_ITEM_MAX, BATCH_MAX, RedemptionRequest
from florin.identity.authentication import Caller
from florin.kit.errors import InvalidRequest
from florin.kit.http import field_errors
from florin.kit.http.body import decode_body
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.json_limits import ERRORS_MAX
from tests.support.api_calls import issue, read, spend
from tests.support.instance import Shop

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, while it is imported
    fast_routes: Any = import_module("florin.cards.api.fast_routes")
    operations: Any = import_module("florin.cards.api.frequent_operations")


async def test_an_oversized_item_is_refused_alone(http: httpx.AsyncClient, shop: Shop) -> None:
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


async def test_the_longest_valid_item_is_accepted(http: httpx.AsyncClient, shop: Shop) -> None:
    """An item whose characters take four bytes each."""
    card = await issue(http, shop, 100)
    metadata = {f"{n:02}" + "\U0001f381" * 38: "\U0001f381" * 500 for n in range(50)}
    text = {"reference": "\U0001f381" * 255, "metadata": metadata}
    item = json.dumps(spend(card, 1, idempotency_key="long", **text), ensure_ascii=False)
    assert len(item.encode()) > BATCH_ITEM_MAX * 3 // 4
    content = f'{{"redemptions":[{item}]}}'.encode()
    (line,) = (await http.post("/redemptions/batch", content=content)).json()["data"]
    assert line["status"] == 201, line


def test_a_refusal_explains_no_more_mistakes_than_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Explaining costs most of all: a thousand items of a batch may have 50 mistakes each."""
    explained, explain = list[str](), field_errors.decoder_error

    def counting(error: Exception, param: str, kind: Any, value: bytes) -> dict[str, str]:
        explained.append(param)
        return explain(error, param, kind, value)

    monkeypatch.setattr(field_errors, "decoder_error", counting)
    decoder = msgspec.json.Decoder(RedemptionRequest)
    for count, number in ((20, "20"), (21, "more than 20"), (250, "more than 20")):
        explained.clear()
        body = {"amount": 1, "currency": "EUR", "metadata": {f"{n}": n for n in range(count)}}
        with pytest.raises(InvalidRequest) as refused:
            decode_body(decoder, msgspec.json.encode(body))
        assert refused.value.detail.startswith(f"{number} invalid fields: metadata[0], ")
        assert len(refused.value.extra["errors"]) == ERRORS_MAX
        assert len(explained) <= ERRORS_MAX + 1


class _Access:
    """Knows one caller."""

    def cached(self, authorization: str | None) -> Caller:
        del authorization
        return Caller(merchant=UUID(int=1), actor="key", scopes=frozenset({"redemptions:write"}))


async def test_other_requests_run_while_batches_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any number of batches at once a few items are read before others have their turn."""
    read = operations._read_item
    items, between = 0, list[int]()

    def counting(*args: Any) -> Any:
        nonlocal items
        items += 1
        return read(*args)

    async def request() -> None:
        while items < batches * BATCH_MAX:
            before = items
            await asyncio.sleep(0)
            between.append(items - before)

    async def counted(_actor: str) -> None:
        return

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        answers.append(message)

    monkeypatch.setattr(operations, "_read_item", counting)
    batches, answers = 20, list[Any]()
    body = msgspec.json.encode({"redemptions": [{"metadata": {"a": 1}}] * BATCH_MAX})
    shared = operations.FrequentOperations(None, None, TrustedProxies(()))
    routes = fast_routes.FastRoutes(_Access(), shared, counted)
    scope: Any = {"path": "/", "query_string": b"", "headers": [], "request_id": "r"}
    sent = [routes.redeem_batch({**scope}, receive, send) for _ in range(batches)]
    await asyncio.gather(*sent, request())
    assert [each["status"] for each in answers[::2]] == [200] * batches
    assert max(between) <= operations.READ_AT_ONCE
