"""Hostile load: expensive bodies and headers while other clients are served."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from tests.support.api_calls import issue, key
from tests.support.instance import Instance, Shop

SIZE = 990_000  # bytes
SENDERS = 4
PINGS = 40
WITHIN_S = 1.0  # most answers; an event loop that is blocked is so for several seconds


def _item(count: int, each: str, last: str = "") -> bytes:
    parts = [each.format(n=n) for n in range(count)]
    return f'{{"redemptions":[{{{",".join(parts)}{last}}}]}}'.encode()[:SIZE]


BATCHES: dict[str, bytes] = {
    "one name twice": _item(70_000, '"{n:x}":1', ',"1117b":1'),
    "many short items": b'{"redemptions":[' + b"1," * (SIZE // 2 - 20) + b"1]}",
    "nested items": b'{"redemptions":[' + b"{" * (SIZE - 20),
    "U+0000 behind a long name": (
        b'{"redemptions":[{"' + b"n" * (SIZE // 2) + b'":[' + b"1," * (SIZE // 5) + b'"\\u0000"]}]}'
    ),
    "many small objects": b'{"redemptions":[{"a":[' + b"{}," * (SIZE // 3 - 20) + b"{}]}]}",
    "items wrong in each field": b'{"redemptions":['
    + b",".join([b'{"metadata":{%b}}' % b",".join(b'"%d":1' % n for n in range(50))] * 1000)
    + b"]}",
    "many items": b'{"redemptions":['
    + b",".join([b'{"a":[' + b'"",' * 300 + b"1]}"] * 999)
    + b"]}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
async def test_an_instance_answers_while_hostile_batches_arrive(
    open_api: Instance, till: httpx.AsyncClient, name: str
) -> None:
    body = BATCHES[name]
    statuses: list[int] = []

    async def send() -> None:
        answer = await till.post("/redemptions/batch", content=body)
        statuses.append(answer.status_code)

    await _served(open_api, send)
    assert len(statuses) >= SENDERS
    assert set(statuses) <= {200, 413, 422}  # 200: each item is refused by itself


async def test_an_instance_answers_while_hostile_queries_arrive(
    open_api: Instance, till: httpx.AsyncClient
) -> None:
    query = "&".join(f"metadata[{n:x}]=1" for n in range(400))
    headers = {"accept-encoding": "gzip" + " " * 3000 + "x"}

    async def send() -> None:
        answer = await till.get(f"/cards?{query}", headers=headers)
        assert answer.status_code == 422
        assert answer.json()["param"].startswith("metadata[")

    await _served(open_api, send)


async def test_others_pay_while_hostile_batches_arrive(till: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(till, shop, 1000)

    async def send() -> None:
        await till.post("/redemptions/batch", content=BATCHES["one name twice"])

    async with _sending(send):
        for _ in range(20):
            spend = {"card": card["id"], "amount": 1, "currency": "EUR"}
            paid = await till.post("/redemptions", json=spend, headers=key())
            assert paid.status_code == 201


@contextlib.asynccontextmanager
async def _sending(send: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Several who send again and again; each has sent once at least when this ends."""
    ended = asyncio.Event()

    async def again() -> None:
        await send()
        while not ended.is_set():
            await send()

    senders = [asyncio.ensure_future(again()) for _ in range(SENDERS)]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*senders)


async def _served(api: Instance, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Nine of ten questions whether the instance lives are answered soon meanwhile."""
    taken: list[float] = []
    async with httpx.AsyncClient(base_url=api.base, timeout=60) as probe, _sending(send):
        for _ in range(PINGS):
            began = time.perf_counter()
            assert (await probe.get("/health/live")).status_code == 200
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
    taken.sort()
    assert taken[len(taken) * 9 // 10] < WITHIN_S, taken
