"""Locations: a key that is bound to a location acts there only, and entries record it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.cards.jobs.test_bulk_issue import finished
from tests.support.api_calls import Json, issue, key, made, post, problem, read, redeem, spend
from tests.support.instance import Instance, Shop
from tests.support.members import bearer, client_of
from tests.support.workers import Crew

SCOPES = [
    "redemptions:write",
    "redemptions:read",
    "cards:read",
    "cards:write",
    "cards:spend-by-id",
    "keys:write",
]


@dataclass(frozen=True, slots=True)
class Tills:
    """Two keys of one merchant, each bound to its own location, and one without a location."""

    one: httpx.AsyncClient
    two: httpx.AsyncClient
    office: httpx.AsyncClient


@pytest.fixture
async def tills(api: Instance, http: httpx.AsyncClient) -> AsyncGenerator[Tills]:
    secrets: list[str] = []
    for location in ("Till 1", "Till 2"):
        body = {"name": location, "scopes": SCOPES, "location": location}
        secrets.append((await made(http, "/api-keys", body))["secret"])
    async with (
        client_of(api, **bearer(secrets[0])) as one,
        client_of(api, **bearer(secrets[1])) as two,
    ):
        yield Tills(one, two, http)


def at(location: str | None) -> Json:
    return {} if location is None else {"location": location}


async def locations(http: httpx.AsyncClient, card: Json) -> list[tuple[str, str | None]]:
    """The locations of the card's entries, oldest first."""
    found = (await read(http, f"/cards/{card['id']}/entries"))["data"]
    return [(each["kind"], each["location"]) for each in reversed(found)]


async def test_a_key_spends_at_its_location(tills: Tills, shop: Shop) -> None:
    till = tills.one
    listed = (await read(tills.office, "/api-keys"))["data"]
    assert [each["location"] for each in listed] == ["Till 2", "Till 1", None]
    card = await issue(tills.office, shop, 1000)
    assert (await read(till, "/auth/me"))["location"] == "Till 1"
    for path in ("/redemptions", "/holds"):
        for given in (None, "Till 1"):
            assert (await made(till, path, spend(card, 1, **at(given))))["location"] == "Till 1"
        problem(await post(till, path, spend(card, 1, **at("Till 2"))), 403, "forbidden")
    items = [
        {**spend(card, 1), "idempotency_key": "a"},
        {**spend(card, 1, **at("Till 2")), "idempotency_key": "b"},
    ]
    batch = await till.post("/redemptions/batch", json={"redemptions": items})
    one, two = batch.json()["data"]
    assert one["redemption"]["location"] == "Till 1"
    assert (two["status"], two["problem"]["code"]) == (403, "forbidden")
    problem(
        await till.post("/redemptions", json=spend(card, 1, simulate=True, **at("Till 2"))),
        403,
        "forbidden",
    )
    # A key without a location gives one in the request.
    assert (await redeem(tills.office, card, 1, **at("Till 2")))["location"] == "Till 2"


@pytest.mark.parametrize("placed_at", ["Till 2", None])
async def test_a_key_resolves_and_refunds_nothing_of_another_location(
    tills: Tills, shop: Shop, placed_at: str | None
) -> None:
    card = await issue(tills.office, shop, 1000)
    hold = await made(tills.office, "/holds", spend(card, 100, **at(placed_at)))
    spent = await redeem(tills.office, card, 100, **at(placed_at))
    tries = [
        (f"/holds/{hold['id']}/capture", {"amount": 1}),
        (f"/holds/{hold['id']}/void", None),
        ("/refunds", {"redemption": spent["id"], "amount": 1}),
    ]
    for path, body in tries:
        problem(await post(tills.one, path, body), 403, "forbidden")
        said = {**(body or {}), **at("Till 1")}
        problem(await post(tills.one, path, said), 403, "forbidden")
    found = await read(tills.office, f"/cards/{card['id']}")
    assert (found["balance"], found["held"]) == (900, 100)
    captured = await made(tills.office, tries[0][0], status=200)
    refund = {"redemption": captured["redemption"], "amount": 1}
    problem(await post(tills.one, "/refunds", refund), 403, "forbidden")
    # A repetition of a request of another location is refused as well.
    under = "of the other till"
    other = tills.two if placed_at else tills.office
    assert (await post(other, "/refunds", refund, under=under)).status_code == 201
    problem(await post(tills.one, "/refunds", refund, under=under), 403, "forbidden")


@pytest.mark.parametrize("given", ["Till 1", None])
async def test_a_key_resolves_and_refunds_at_its_location(
    tills: Tills, shop: Shop, given: str | None
) -> None:
    card = await issue(tills.one, shop, 1000)
    holds = [await made(tills.one, "/holds", spend(card, 100)) for _ in range(2)]
    elsewhere = at("Till 2")
    for path in (f"/holds/{holds[0]['id']}/capture", f"/holds/{holds[0]['id']}/void"):
        problem(await post(tills.one, path, elsewhere), 403, "forbidden")
    captured = await made(tills.one, f"/holds/{holds[0]['id']}/capture", at(given), status=200)
    await made(tills.one, f"/holds/{holds[1]['id']}/void", at(given), status=200)
    refund: Json = {"redemption": captured["redemption"], "amount": 10}
    problem(await post(tills.one, "/refunds", refund | elsewhere), 403, "forbidden")
    refunded = await made(tills.one, "/refunds", refund | at(given))
    assert refunded["location"] == "Till 1"
    assert (await read(tills.office, f"/refunds/{refunded['id']}"))["location"] == "Till 1"
    redemption = await read(tills.office, f"/redemptions/{captured['redemption']}")
    assert redemption["location"] == "Till 1"
    kinds = [("issue", "Till 1"), ("redeem", "Till 1"), ("refund", "Till 1")]
    assert await locations(tills.office, card) == kinds


async def test_without_a_location_it_is_that_of_what_is_resolved_or_refunded(
    tills: Tills, shop: Shop
) -> None:
    card = await issue(tills.office, shop, 1000)
    wanted: list[tuple[str, str | None]] = [("issue", None)]
    for given, said in ((None, "Till 1"), ("Till 2", "Till 2")):
        hold = await made(tills.one, "/holds", spend(card, 100))
        path = f"/holds/{hold['id']}/capture"
        captured = await made(tills.office, path, at(given), status=200)
        wanted.append(("redeem", said))
        refund = {"redemption": captured["redemption"], "amount": 10}
        await made(tills.office, "/refunds", refund)
        await made(tills.office, "/refunds", {**refund, **at("Office")})
        wanted += [("refund", said), ("refund", "Office")]
    assert await locations(tills.office, card) == wanted


async def test_an_older_capture_has_the_location_of_its_hold(
    tills: Tills, shop: Shop, owner: Any
) -> None:
    """Older captures did not record a location."""
    card = await issue(tills.office, shop, 1000)
    hold = await made(tills.one, "/holds", spend(card, 100))
    captured = await made(tills.one, f"/holds/{hold['id']}/capture", status=200)
    async with owner.transaction():
        await owner.execute("alter table florin.transfer disable trigger user")
        await owner.execute("update florin.transfer set location = null where kind = 'redeem'")
        await owner.execute("alter table florin.transfer enable trigger user")
    refund = {"redemption": captured["redemption"], "amount": 10}
    problem(await post(tills.two, "/refunds", refund), 403, "forbidden")
    assert (await made(tills.one, "/refunds", refund))["location"] == "Till 1"


async def test_every_entry_says_where_the_key_is_bound(tills: Tills, shop: Shop) -> None:
    pending = await issue(tills.one, shop, 1000, activate=False)
    other = await issue(tills.one, shop, 1000)
    await made(tills.one, f"/cards/{pending['id']}/activate", status=200)
    await made(tills.one, "/loads", {"card": pending["id"], "amount": 1})
    await made(tills.one, "/adjustments", {"card": pending["id"], "amount": 1, "reason": "r"})
    await made(tills.one, "/transfers", {"from": pending["id"], "to": other["id"], "amount": 1})
    kinds = [("activate", "Till 1"), ("load", "Till 1"), ("adjust", "Till 1")]
    assert await locations(tills.office, pending) == [*kinds, ("transfer", "Till 1")]
    assert await locations(tills.office, other) == [("issue", "Till 1"), ("transfer", "Till 1")]
    actors = (await read(tills.office, f"/cards/{other['id']}/entries"))["data"]
    assert {each["actor"] for each in actors} == {(await read(tills.one, "/auth/me"))["actor"]}


async def test_a_key_makes_keys_for_its_location_only(tills: Tills) -> None:
    body = {"name": "k", "scopes": ["cards:read"]}
    for location in ("Till 2", None):
        answer = await tills.one.post("/api-keys", json=body | at(location), headers=key())
        problem(answer, 403, "forbidden")
    assert (await made(tills.one, "/api-keys", body | at("Till 1")))["location"] == "Till 1"


async def test_the_cards_of_a_job_say_where_its_key_is_bound(
    tills: Tills, shop: Shop, owner: Any, workers: Crew
) -> None:
    body = {"program": shop.program, "amount": 5, "quantity": 3}
    bulk = await made(tills.one, "/cards/bulk", body, status=202)
    text = f"amount,program\r\n7,{shop.program}\r\n"
    headers = key() | {"content-type": "text/csv"}
    imported = await tills.two.post("/cards/import", content=text, headers=headers)
    assert imported.status_code == 202, imported.text
    workers.start("--concurrency", "1")
    for job in (bulk, imported.json()):
        await finished(tills.office, job["id"])
    said = await owner.fetch(
        "select amount, location, count(*)::integer as cards from florin.transfer"
        " where merchant = $1 group by amount, location order by amount",
        shop.merchant,
    )
    assert [tuple(row) for row in said] == [(5, "Till 1", 3), (7, "Till 2", 1)]


async def test_a_key_takes_the_codes_of_its_location_only(
    tills: Tills, shop: Shop, workers: Crew
) -> None:
    body = {"program": shop.program, "amount": 5, "quantity": 3}
    of_till = await made(tills.one, "/cards/bulk", body, status=202)
    of_office = await made(tills.office, "/cards/bulk", body, status=202)
    workers.start("--concurrency", "1")
    for job in (of_till, of_office):
        await finished(tills.office, job["id"])
        for codes in ("codes", "sheet.pdf"):
            problem(await tills.two.post(f"/jobs/{job['id']}/{codes}"), 403, "forbidden")
        assert (await read(tills.office, f"/jobs/{job['id']}"))["codes"] == "waiting"
    problem(await tills.one.post(f"/jobs/{of_office['id']}/codes"), 403, "forbidden")
    assert (await tills.one.post(f"/jobs/{of_till['id']}/sheet.pdf")).status_code == 200
    assert (await tills.office.post(f"/jobs/{of_office['id']}/codes")).status_code == 200
