"""API calls for tests: issue a card, move its money, check the ledger proof."""

import asyncio
import uuid
from collections.abc import Iterable
from typing import Any

import httpx

from tests.support.instance import Shop

Json = dict[str, Any]


def key(value: str | None = None) -> dict[str, str]:
    """The header of an idempotency key; a new one unless a value is given."""
    return {"Idempotency-Key": value or uuid.uuid4().hex}


async def post(
    http: httpx.AsyncClient, path: str, body: Any = None, *, under: str | None = None
) -> httpx.Response:
    """POST with an idempotency key."""
    return await http.post(path, json=body, headers=key(under))


async def made(http: httpx.AsyncClient, path: str, body: Any = None, *, status: int = 201) -> Json:
    """POST with a new idempotency key; return the created object."""
    answer = await post(http, path, body)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def issue(http: httpx.AsyncClient, shop: Shop, amount: int = 1000, **more: Any) -> Json:
    return await made(http, "/cards", {"program": shop.program, "amount": amount, **more})


async def redeem(http: httpx.AsyncClient, card: Json, amount: int, **more: Any) -> Json:
    return await made(http, "/redemptions", spend(card, amount, **more))


def spend(card: Json, amount: int, **more: Any) -> Json:
    return {"card": card["id"], "amount": amount, "currency": "EUR", **more}


async def read(http: httpx.AsyncClient, path: str, **query: Any) -> Json:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def together(calls: Iterable[Any]) -> list[httpx.Response]:
    """Run all concurrently."""
    return list(await asyncio.gather(*calls))


async def balanced(http: httpx.AsyncClient) -> None:
    """Check that the ledger proof balances."""
    proof = await read(http, "/ledger/proof")
    assert proof["balanced"] is True, proof


def problem(answer: httpx.Response, status: int, code: str, *, param: str | None = None) -> Json:
    """Check that an answer is this refusal in the format of RFC 9457 and the OpenAPI document."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    body: Json = answer.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body), body
    assert (body["status"], body["code"]) == (status, code), body
    assert body["request_id"] == answer.headers["x-request-id"]
    if param is not None:
        assert body.get("param") == param, body
    return body


def exceeded(answer: httpx.Response, quota: str, limit: int) -> None:
    """Check that an answer refuses for this quota."""
    refused = problem(answer, 429, "quota_exceeded")
    assert (refused["quota"], refused["limit"]) == (quota, limit)
    assert int(answer.headers["retry-after"]) > 0
