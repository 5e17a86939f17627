"""Clients that disconnect: an incomplete body is not counted as an error, a read is cancelled, and
a write goes on.
"""

import asyncio
import contextlib
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.ledger.batching import LOCK_TIMEOUT_MS
from tests.support.api_calls import issue, read
from tests.support.hostile_requests import request
from tests.support.instance import Instance, Shop

_SAMPLE = re.compile(r'florin_http_requests_total\{.*route="([^"]*)",status="(\d+)"\} (\S+)')
GONE = "499"
_LOCKED = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and application_name like 'florin%'
"""
_WAITS_ALONE = f"{_LOCKED} and now() - query_start > interval '{3 * LOCK_TIMEOUT_MS} ms'"


async def _answered(api: Instance, path: str) -> Counter[str]:
    """How many requests of a path were answered with each status, by any method."""
    async with httpx.AsyncClient(base_url=api.operations, timeout=60) as http:
        text = (await http.get("/metrics")).text
    found = Counter[str]()
    for route, status, value in _SAMPLE.findall(text):
        if route == f"/api/v1{path}":
            found[status] += int(float(value))
    return found


async def _one_more(api: Instance, path: str, before: Counter[str]) -> str:
    """Wait for the next answer of a path; return its status."""
    async with asyncio.timeout(60):
        while True:
            more = await _answered(api, path) - before
            if more:
                (status,) = more
                return status
            await asyncio.sleep(0.05)


async def _send(api: Instance, text: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(text)
    await writer.drain()
    return writer


async def _until_locked(owner: Any, count: int = 1) -> None:
    async with asyncio.timeout(60):
        while await owner.fetchval(_LOCKED) < count:  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _held(owner: Any, statement: str, *arguments: object) -> AsyncGenerator[None]:
    """Keep what a statement locks locked inside the block."""
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(statement, *arguments)
        yield
    finally:
        await transaction.rollback()


@pytest.mark.parametrize(
    "path", ["/redemptions", "/redemptions/batch", "/loads", "/cards", "/cards/lookup"]
)
async def test_an_interrupted_body_is_not_counted_as_an_error(
    api: Instance, shop: Shop, path: str
) -> None:
    before = await _answered(api, path)
    head = request(shop, path, b"x" * 1000, b"Idempotency-Key: cut")[:-500]
    writer = await _send(api, head)
    await asyncio.sleep(0.05)
    writer.close()
    assert await _one_more(api, path, before) == GONE


async def test_an_interrupted_file_is_not_counted_as_an_error(api: Instance, shop: Shop) -> None:
    path = "/cards/import"
    before = await _answered(api, path)
    head = request(shop, path, b"x" * 1000, b"Idempotency-Key: cut")
    writer = await _send(api, head.replace(b"application/json", b"text/csv")[:-500])
    writer.close()
    assert await _one_more(api, path, before) == GONE


@pytest.mark.parametrize("route", ["/cards", "/cards/{card}"])
async def test_a_read_is_cancelled_when_its_client_disconnects(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any, app: Any, route: str
) -> None:
    card = await issue(http, shop)
    before = await _answered(api, route)
    path = route.replace("{card}", card["id"])
    async with _held(owner, "lock table florin.account in access exclusive mode"):
        text = request(shop, path, b"").replace(b"POST", b"GET")
        writer = await _send(api, text.replace(b"Connection: close\r\n", b""))
        await _until_locked(app)
        writer.close()
        # Still locked: only the disconnection ended the read; the time-out would have made it 503.
        assert await _one_more(api, route, before) == GONE
        async with asyncio.timeout(30):
            while await app.fetchval(_LOCKED):  # noqa: ASYNC110 -- of another process
                await asyncio.sleep(0.02)
    assert (await read(http, f"/cards/{card['id']}"))["id"] == card["id"]


@pytest.mark.slow
async def test_a_read_that_takes_too_long_is_refused(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await issue(http, shop)
    async with _held(owner, "lock table florin.account in access exclusive mode"):
        for path in ("/cards", f"/cards/{card['id']}"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            assert answer.headers["retry-after"]
    assert (await http.get("/cards")).status_code == 200


async def test_a_write_completes_after_its_client_disconnects(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any, app: Any
) -> None:
    """The write waits for a lock longer than a read may take, after its client disconnected."""
    card = await issue(http, shop, 1000)
    uuid = ids.parse_id("crd", card["id"])
    before = await _answered(api, "/redemptions")
    body = f'{{"card":"{card["id"]}","amount":7,"currency":"EUR"}}'.encode()
    async with _held(owner, "select from florin.account where id = $1 for update", uuid):
        writer = await _send(api, request(shop, "/redemptions", body, b"Idempotency-Key: gone"))
        async with asyncio.timeout(60):  # the call that waits for the card, after the short one
            while await app.fetchval(_WAITS_ALONE) < 1:  # noqa: ASYNC110 -- of another process
                await asyncio.sleep(0.02)
        writer.close()
        await asyncio.sleep(5)  # more than READ_STATEMENT_S
        assert await app.fetchval(_LOCKED) == 1
    assert await _one_more(api, "/redemptions", before) == "201"
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 993


@pytest.mark.parametrize("path", ["/redemptions", "/redemptions/batch", "/loads", "/cards/bulk"])
async def test_what_has_not_begun_is_not_begun_for_a_client_that_is_gone(
    api: Instance, http: httpx.AsyncClient, shop: Shop, path: str
) -> None:
    """The balancer sent it to another instance, too: a refusal from there must stay true."""
    card = await issue(http, shop)
    before = await _answered(api, path)
    spend = {"card": card["id"], "amount": 5, "currency": "EUR"}
    body: dict[str, Any] = {
        "/redemptions": spend,
        "/redemptions/batch": {"redemptions": [spend | {"idempotency_key": "late"}]},
        "/loads": {"card": card["id"], "amount": 5},
        "/cards/bulk": {"program": shop.program, "amount": 5, "quantity": 1},
    }[path]
    process = api.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        text = request(shop, path, json.dumps(body).encode(), b"Idempotency-Key: late")
        writer = await _send(api, text.replace(b"Connection: close\r\n", b""))
        writer.transport.abort()
        await asyncio.sleep(0.05)  # the kernel has both, the request and the end
    finally:
        process.send_signal(signal.SIGCONT)
    assert await _one_more(api, path, before) == (GONE if path != "/redemptions/batch" else "200")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == card["balance"]
    assert (await read(http, "/jobs"))["data"] == []
