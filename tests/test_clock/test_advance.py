"""Advance: what is due happens in order, at its time and once; other merchants are untouched."""

import asyncio
import operator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.support.api_calls import balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import client_of
from tests.support.receivers.webhook_receiver import webhook_receiver
from tests.support.workers import Crew
from tests.test_clock.conftest import ALLOW, advance, finished

SIX_MONTHS = {
    "name": "Half a year",
    "currency": "EUR",
    "min_amount": 1,
    "max_amount": 1000,
    "expires_after_months": 6,
}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def now(http: httpx.AsyncClient) -> datetime:
    return instant((await read(http, "/test-clock"))["now"])


async def ahead(http: httpx.AsyncClient, **span: float) -> str:
    return (await now(http) + timedelta(**span)).isoformat()


async def test_holds_and_cards_expire_in_order_and_webhooks_follow(
    client: httpx.AsyncClient, test_shop: Shop, worker: Any
) -> None:
    del worker
    async with webhook_receiver() as receiver:
        found = await made(client, "/webhook-endpoints", {"url": receiver.url(), "events": ["*"]})
        receiver.secrets["/hook"] = found["secret"]
        program = await made(client, "/programs", SIX_MONTHS)
        cards = [await issue(client, test_shop, 1000, program=program["id"]) for _ in range(3)]
        spans = (3 * 86400, 60, 40 * 86400)  # in another order than the cards
        holds = [
            await made(client, "/holds", spend(card, 100, expires_in=span))
            for card, span in zip(cards, spans, strict=True)
        ]
        to = await ahead(client, days=5 * 365)
        job = await advance(client, to)
        assert (job["kind"], job["done"], job["total"]) == ("advance", 1, 1)
        assert instant(to) <= await now(client) <= instant(to) + timedelta(minutes=1)
        for hold in holds:
            assert (await read(client, f"/holds/{hold['id']}"))["state"] == "expired"
        for card in cards:
            shown = await read(client, f"/cards/{card['id']}")
            assert (shown["state"], shown["balance"], shown["held"]) == ("expired", 0, 0)
        # In the order in which it happened: messages of several cards are sent at once.
        sent = sorted(receiver.messages["/hook"], key=operator.itemgetter("created_at"))
        expired = [each for each in sent if "expired" in each["type"]]
        assert [each["type"] for each in expired] == ["hold.expired"] * 3 + ["card.expired"] * 3
        wanted = [holds[1]["id"], holds[0]["id"], holds[2]["id"]]
        assert [each["data"]["object"]["id"] for each in expired[:3]] == wanted
        due = [instant(hold["expires_at"]) for hold in (holds[1], holds[0], holds[2])]
        due += [instant(card["expires_at"]) for card in cards]
        for each, at in zip(expired, due, strict=True):
            late = instant(each["created_at"]) - at
            assert timedelta(0) <= late < timedelta(seconds=30), (each["type"], late)
        assert len(set(receiver.ids())) == len(receiver.ids())
        assert receiver.invalid == []
    await balanced(client)


async def test_other_merchants_are_untouched(
    client: httpx.AsyncClient,
    test_shop: Shop,
    worker: Any,
    api: Instance,
    owner: Any,
    database: Database,
) -> None:
    del worker, test_shop
    other = await make_shop(owner, database, test=True)
    real = await make_shop(owner, database)
    async with client_of(api, **other.headers) as theirs, client_of(api, **real.headers) as live:
        card = await issue(theirs, other, 500)
        hold = await made(theirs, "/holds", spend(card, 100, expires_in=60))
        await advance(client, await ahead(client, days=400))
        assert abs(await now(theirs) - datetime.now(UTC)) < timedelta(minutes=1)
        assert (await read(theirs, f"/holds/{hold['id']}"))["state"] == "open"
        problem(await live.get("/test-clock"), 409, "not_test_merchant")
        answer = await post(live, "/test-clock/advance", {"to": "2030-01-01T00:00:00Z"})
        problem(answer, 409, "not_test_merchant")


async def test_the_clock_goes_ahead_only_and_by_one_job_at_a_time(
    client: httpx.AsyncClient, workers: Crew
) -> None:
    for span in ({"days": -1.0}, {"days": 5 * 366 + 1.0}):
        answer = await post(client, "/test-clock/advance", {"to": await ahead(client, **span)})
        problem(answer, 422, "invalid_request", param="to")
    to = await ahead(client, days=1)
    answers = await asyncio.gather(
        *(post(client, "/test-clock/advance", {"to": to}) for _ in range(4))
    )
    assert sorted(each.status_code for each in answers) == [202, 409, 409, 409]
    refused = next(each for each in answers if each.status_code == 409)
    running = next(each for each in answers if each.status_code == 202).json()
    assert problem(refused, 409, "clock_moving")["job"] == running["id"]
    clock = await read(client, "/test-clock")
    assert (clock["state"], clock["job"]) == ("moving", running["id"])
    workers.start(**ALLOW)
    await finished(client, running["id"])
    assert (await read(client, "/test-clock"))["state"] == "running"
    records = await read(client, "/audit", action="test_clock.advanced")
    assert len(records["data"]) == 1


async def test_the_job_is_neither_stopped_nor_a_batch(
    client: httpx.AsyncClient, test_shop: Shop, workers: Crew
) -> None:
    card = await issue(client, test_shop, 500)
    hold = await made(client, "/holds", spend(card, 100, expires_in=60))
    answer = await post(client, "/test-clock/advance", {"to": await ahead(client, days=1)})
    job = answer.json()["id"]
    for state in ("queued", "finished"):
        for action in ("cancel", "activate", "block", "close"):
            refused = await post(client, f"/jobs/{job}/{action}")
            assert "test clock" in problem(refused, 422, "invalid_request", param="job")["detail"]
        later = {"expires_at": "2099-01-01T00:00:00Z", "reason": "late"}
        refused = await post(client, f"/jobs/{job}/extend", later)
        assert "test clock" in problem(refused, 422, "invalid_request", param="job")["detail"]
        assert (await read(client, f"/jobs/{job}"))["state"] == state
        if state == "queued":
            assert (await read(client, "/test-clock"))["job"] == job
            workers.start(**ALLOW)
            done = await finished(client, job)
            assert (done["done"], done["cancelled"]) == (1, 0)
    assert (await read(client, f"/holds/{hold['id']}"))["state"] == "expired"


@pytest.mark.slow
async def test_a_killed_worker_does_not_let_anything_happen_twice(
    client: httpx.AsyncClient, test_shop: Shop, workers: Crew
) -> None:
    first = workers.start(**ALLOW)
    card = await issue(client, test_shop, 100_000)
    for span in range(1, 200):
        await made(client, "/holds", spend(card, 1, expires_in=span * 86400))
    answer = await post(client, "/test-clock/advance", {"to": await ahead(client, days=300)})
    job = answer.json()
    async with asyncio.timeout(30):
        while True:
            if (await read(client, "/events", type="hold.expired"))["data"]:
                break
            await asyncio.sleep(0.01)
    Crew.kill(first)
    workers.start(**ALLOW)
    await finished(client, job["id"])
    events: list[Any] = []
    after: dict[str, str] = {}
    while True:
        page = await read(client, "/events", type="hold.expired", limit=100, **after)
        events += page["data"]
        if not page["has_more"]:
            break
        after = {"starting_after": page["data"][-1]["id"]}
    expired = [each["data"]["object"]["id"] for each in events]
    assert len(expired) == len(set(expired)) == 199
    assert (await read(client, f"/cards/{card['id']}"))["held"] == 0
    await balanced(client)


async def test_money_that_moves_meanwhile_is_kept(
    client: httpx.AsyncClient, test_shop: Shop, worker: Any
) -> None:
    del worker
    card = await issue(client, test_shop, 100_000)
    for span in range(1, 60):
        await made(client, "/holds", spend(card, 1, expires_in=span * 86400))
    moving = asyncio.ensure_future(advance(client, await ahead(client, days=61)))
    spent = 0
    while not moving.done():
        await redeem(client, card, 1)
        spent += 1
    await moving
    shown = await read(client, f"/cards/{card['id']}")
    assert (shown["balance"], shown["held"]) == (100_000 - spent, 0)
    await balanced(client)
