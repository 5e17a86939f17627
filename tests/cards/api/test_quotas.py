"""Quotas: the limits of one merchant, and the operator's command that changes them."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from florin.cli import quotas
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.ops.system.console import OperatorError
from tests.conftest import Urls
from tests.support.api_calls import Json, exceeded, issue, key, post, read, together
from tests.support.instance import Instance, Shop, make_shop


@pytest.fixture
def operator(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run `florin quota`."""
    monkeypatch.setenv("DATABASE_URL", f"{urls.app}?connection_limit=5&pool_timeout=5")

    async def quota(*words: str) -> Json:
        verb, *given = words
        verb_: Any = verb
        await asyncio.to_thread(quotas.quota, verb_, given, None, True)
        found: Json = json.loads(capsys.readouterr().out)
        return found

    return quota


async def bulk(http: httpx.AsyncClient, shop: Shop, quantity: int, under: str) -> httpx.Response:
    body = {"program": shop.program, "amount": 1, "quantity": quantity}
    return await post(http, "/cards/bulk", body, under=under)


async def upload(http: httpx.AsyncClient, cards: int, under: str) -> httpx.Response:
    headers = {"content-type": "text/csv", **key(under)}
    return await http.post("/cards/import", content="amount\n" + "5\n" * cards, headers=headers)


async def test_the_daily_quota_counts_single_bulk_and_imported_cards(
    http: httpx.AsyncClient,
    shop: Shop,
    operator: Any,
    api: Instance,
    owner: Any,
    database: Database,
) -> None:
    merchant = ids.show_id("mer", shop.merchant)
    await operator("set", merchant, "cards_per_day", "6")
    body = {"program": shop.program, "amount": 1}
    first = await post(http, "/cards", body, under="first")
    assert first.status_code == 201
    assert (await bulk(http, shop, 3, "three")).status_code == 202
    exceeded(await bulk(http, shop, 3, "three more"), "cards_per_day", 6)
    exceeded(await upload(http, 3, "three in a file"), "cards_per_day", 6)
    assert (await upload(http, 1, "one in a file")).status_code == 202
    assert (await post(http, "/cards", body, under="last")).status_code == 201
    exceeded(await post(http, "/cards", body, under="too many"), "cards_per_day", 6)
    again = await post(http, "/cards", body, under="first")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (await bulk(http, shop, 3, "three")).status_code == 202
    other = await make_shop(owner, database)
    async with httpx.AsyncClient(base_url=http.base_url, headers=other.headers) as client:
        await issue(client, other)
    await operator("set", merchant, "cards_per_day", "7")
    assert (await post(http, "/cards", body, under="too many")).status_code == 201
    await owner.execute("update florin.quota_use set day = day - 1")
    assert (await bulk(http, shop, 7, "tomorrow")).status_code == 202
    del api


async def test_the_quota_of_open_jobs_holds_for_concurrent_requests(
    http: httpx.AsyncClient, shop: Shop, operator: Any, owner: Any
) -> None:
    await operator("set", ids.show_id("mer", shop.merchant), "open_jobs", "3")
    answers = await together(bulk(http, shop, 1, f"job {n}") for n in range(12))
    taken = [answer for answer in answers if answer.status_code == 202]
    assert len(taken) == 3
    for answer in answers:
        if answer not in taken:
            exceeded(answer, "open_jobs", 3)
    exceeded(await upload(http, 1, "a file"), "open_jobs", 3)
    # Jobs in the queue and in the outbox count; a dead letter is not open.
    await owner.fetch("select queue_relay('{}', '{}', '{}', '{}', 100)")
    exceeded(await bulk(http, shop, 1, "one more"), "open_jobs", 3)
    await owner.execute("update florin.queue_job set state = 2")
    assert (await bulk(http, shop, 1, "one more")).status_code == 202
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")


async def test_the_operator_changes_a_limit_and_the_audit_has_it(
    http: httpx.AsyncClient, shop: Shop, operator: Any
) -> None:
    merchant = ids.show_id("mer", shop.merchant)
    done = await operator("set", merchant, "open_jobs", "50")
    assert done == {"merchant": merchant, "quota": "open_jobs", "limit": 50, "was": 20}
    listed = {each["quota"]: each for each in (await operator("list"))["quotas"]}
    usual = {"cards_per_day": 5_000_000, "open_jobs": 20, "event_streams": 20}
    usual |= {"api_keys": 1000, "members": 1000, "webhook_endpoints": 50, "gateways": 20}
    assert {name: each["default"] for name, each in listed.items()} == usual
    assert listed["open_jobs"]["merchants"][merchant] == 50
    (record,) = (await read(http, "/audit", action="quota.changed"))["data"]
    assert record["actor"].startswith("operator:")
    assert (record["before"], record["after"]) == ({"limit": 20}, {"limit": 50})
    for words in (
        ("set", merchant, "open_jobs"),
        ("set", merchant, "closed_jobs", "1"),
        ("set", merchant, "open_jobs", "-1"),
        ("set", "crd_1", "open_jobs", "1"),
        ("set", ids.show_id("mer", ids.new_id()), "open_jobs", "1"),
        ("list", merchant),
    ):
        with pytest.raises(OperatorError):
            await operator(*words)
