"""Batches: cards that are activated later, changes of all cards of a job, jobs that are stopped."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.cards.jobs.throttle import LEAST
from tests.cards.jobs.test_bulk_issue import ask, finished, rows
from tests.support.api_calls import Json, problem, read
from tests.support.instance import Shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient
LATER = {"expires_at": "2090-01-01T00:00:00Z", "reason": "the shops were closed"}


async def printed(http: Client, shop: Shop, workers: Crew, quantity: int, key: str) -> str:
    """Issue pending cards; return the id of their job. One worker runs."""
    asked = await ask(http, shop, quantity, key, activate=False)
    assert asked.status_code == 202, asked.text
    workers.start("--concurrency", "2")
    await finished(http, asked.json()["id"])
    return str(asked.json()["id"])


async def changed(http: Client, job: str, change: str, body: Any = None, key: str = "") -> Json:
    headers = {"idempotency-key": key} if key else {}
    asked = await http.post(f"/jobs/{job}/{change}", json=body, headers=headers)
    assert asked.status_code == 202, asked.text
    return await finished(http, asked.json()["id"])


async def all_cards(http: Client, job: str) -> list[Json]:
    found: list[Json] = []
    more: dict[str, Any] = {"has_more": True}
    while more["has_more"]:
        after = {"starting_after": found[-1]["id"]} if found else {}
        more = (await http.get("/cards", params={"job": job, "limit": 100, **after})).json()
        found += more["data"]
    return found


async def test_printed_cards_are_activated_extended_blocked(
    http: Client, shop: Shop, workers: Crew
) -> None:
    job = await printed(http, shop, workers, 120, "print-1")
    cards = await all_cards(http, job)
    assert len({each["id"] for each in cards}) == 120
    assert {(each["state"], each["balance"]) for each in cards} == {("pending", 0)}
    assert (await read(http, "/ledger/balances"))["liability"] == 0
    lines = rows((await http.post(f"/jobs/{job}/codes")).text)
    assert {each["card"] for each in lines} == {each["id"] for each in cards}
    problem(await http.post(f"/jobs/{job}/activate"), 400, "idempotency_key_required")
    done = await changed(http, job, "activate", key="activate-1")
    assert (done["kind"], done["batch"], done["codes"]) == ("activate", job, "none")
    assert (done["done"], done["total"], done["refused"], done["errors"]) == (120, 120, 0, [])
    assert (await read(http, "/ledger/balances"))["liability"] == 120 * 2500
    again = await http.post(f"/jobs/{job}/activate", headers={"idempotency-key": "activate-1"})
    assert (again.headers["idempotency-replayed"], again.json()["id"]) == ("true", done["id"])
    await changed(http, job, "activate", key="activate-2")  # already so: nothing moves
    assert (await read(http, "/ledger/balances"))["liability"] == 120 * 2500
    await changed(http, job, "extend", LATER)
    await changed(http, job, "block")
    cards = await all_cards(http, job)
    assert {(each["state"], each["expires_at"]) for each in cards} == {
        ("blocked", LATER["expires_at"])
    }
    assert (await all_cards(http, done["id"])) == []
    blocked = (await http.get("/cards", params={"job": job, "state": "blocked"})).json()
    assert len(blocked["data"]) == 20
    assert (await read(http, "/ledger/proof"))["balanced"]


async def test_what_a_card_refuses_is_listed_and_the_others_are_changed(
    http: Client, shop: Shop, workers: Crew
) -> None:
    job = await printed(http, shop, workers, 3, "print-2")
    first, *rest = await all_cards(http, job)
    headers = {"idempotency-key": "one"}
    await http.post(f"/cards/{first['id']}/activate", headers=headers)
    done = await changed(http, job, "close")
    assert (done["done"], done["refused"]) == (2, 1)
    assert done["errors"] == [
        {"line": None, "detail": f"{first['id']}: The card still has a balance or an open hold."}
    ]
    states = {each["id"]: each["state"] for each in await all_cards(http, job)}
    assert states == {first["id"]: "active"} | {each["id"]: "closed" for each in rest}


async def test_a_change_needs_a_finished_job_with_cards(
    http: Client, shop: Shop, workers: Crew
) -> None:
    queued = (await ask(http, shop, 5, "print-3")).json()["id"]
    problem(await http.post(f"/jobs/{queued}/block"), 409, "job_not_finished")
    stopped = (await http.post(f"/jobs/{queued}/cancel")).json()
    assert (stopped["state"], stopped["done"], stopped["cancelled"]) == ("finished", 0, 5)
    assert stopped["codes"] == "none"
    problem(await http.post(f"/jobs/{queued}/block"), 422, "invalid_request")
    problem(await http.post("/jobs/job_0/block"), 404, "not_found")
    problem(await http.post("/jobs/job_0/cancel"), 404, "not_found")
    problem(await http.post(f"/jobs/{queued}/extend", json={}), 422, "invalid_request")
    workers.start("--concurrency", "1")
    job = (await ask(http, shop, 2, "print-4")).json()["id"]
    await finished(http, job)
    assert (await http.post(f"/jobs/{job}/cancel")).json()["cancelled"] == 0
    change = await changed(http, job, "block")
    problem(await http.post(f"/jobs/{change['id']}/close"), 422, "invalid_request")
    assert await all_cards(http, queued) == []


async def test_a_running_job_is_stopped_at_an_exact_number(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    job = (await ask(http, shop, 100_000, "print-5")).json()["id"]
    worker = workers.start("--concurrency", "1")

    async def begun() -> bool:
        return bool((await read(http, f"/jobs/{job}"))["done"])

    await until(begun)
    stopped = (await http.post(f"/jobs/{job}/cancel")).json()
    assert stopped["state"] == "finished"
    assert 0 < stopped["done"] == 100_000 - stopped["cancelled"]

    async def idle() -> bool:
        return not await owner.fetchval("select count(*) from florin.queue_job")

    await until(idle)
    number = await owner.fetchval(
        "select count(*) from florin.account where merchant = $1", shop.merchant
    )
    assert number == stopped["done"]
    assert "another worker" not in workers.log(worker)  # it ended, and was not tried again
    lines = rows((await http.post(f"/jobs/{job}/codes")).text)
    assert len(lines) == stopped["done"]
    assert (await read(http, "/ledger/balances"))["liability"] == number * 2500


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3])
async def test_a_killed_worker_changes_each_card_once(
    http: Client, shop: Shop, owner: Any, workers: Crew, kills: int
) -> None:
    job = await printed(http, shop, workers, 20 * LEAST, "print-6")
    asked = await http.post(f"/jobs/{job}/activate", headers={"idempotency-key": "activate-6"})
    change = asked.json()["id"]
    seen = 0
    for _ in range(kills):

        async def further(before: int = seen) -> int:
            found = await read(http, f"/jobs/{change}")
            return found["done"] if found["done"] > before or found["finished_at"] else 0

        seen = await until(further)
        await asyncio.to_thread(workers.kill, workers.started[-1])
        workers.start("--concurrency", "2")
    done = await finished(http, change)
    assert (done["done"], done["refused"]) == (20 * LEAST, 0)
    moved = await owner.fetchval(
        "select count(*) from florin.transfer where merchant = $1 and kind = 'activate'",
        shop.merchant,
    )
    assert moved == 20 * LEAST
    assert (await read(http, "/ledger/proof"))["balanced"]


async def test_a_card_in_use_is_changed_when_it_is_free(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    job = await printed(http, shop, workers, 5, "print-7")
    async with owner.transaction():
        await owner.execute(
            "select from florin.account where merchant = $1 and id = $2 for update",
            shop.merchant,
            await owner.fetchval(
                "select id from florin.card where merchant = $1 and job is not null"
                " order by issued_at, id limit 1",
                shop.merchant,
            ),
        )
        asked = await http.post(f"/jobs/{job}/extend", json=LATER)
        await asyncio.sleep(1)
        assert (await read(http, f"/jobs/{asked.json()['id']}"))["done"] < 5
    assert (await finished(http, asked.json()["id"]))["done"] == 5
    assert {each["expires_at"] for each in await all_cards(http, job)} == {LATER["expires_at"]}
