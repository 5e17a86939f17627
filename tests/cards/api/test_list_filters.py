"""Filters of lists: each finds the right objects; paging skips and repeats nothing."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.kit.http.litestar_adapter import METADATA_FILTERS_MAX
from tests.support.api_calls import Json, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop


async def ids_of(http: httpx.AsyncClient, path: str, **query: Any) -> list[str]:
    """All objects of a list, read in small pages."""
    found: list[str] = []
    query = {"limit": 2, **query}
    while True:
        page = await read(http, path, **query)
        found += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            return found
        query["starting_after"] = page["data"][-1]["id"]


async def test_cards_are_found_by_each_filter(http: httpx.AsyncClient, shop: Shop) -> None:
    ann = {"name": "Ann Smith", "email": "Ann@Example.org"}
    cards = [
        await issue(http, shop, recipient=ann, metadata={"order": "1", "shop": "north"}),
        await issue(http, shop, recipient={"name": "ann@example.org"}, metadata={"order": "2"}),
        await issue(http, shop, metadata={"order": "1", "shop": "south", "a=b": "c"}),
        await issue(http, shop, activate=False),
        await issue(http, shop),
    ]
    a, b, c, pending, blocked = (card["id"] for card in cards)
    await made(http, f"/cards/{blocked}/block", status=200)
    other = await made(
        http, "/programs", {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 9}
    )
    elsewhere = (await issue(http, shop, 5, program=other["id"]))["id"]

    everything = [elsewhere, blocked, pending, c, b, a]
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({}, everything),
        ({"state": "active"}, [elsewhere, c, b, a]),
        ({"state": "blocked"}, [blocked]),
        ({"state": "pending"}, [pending]),
        ({"state": "closed"}, []),
        ({"program": shop.program}, everything[1:]),
        ({"program": other["id"], "state": "active"}, [elsewhere]),
        ({"program": "prg_nonsense"}, []),
        ({"recipient": "ANN@example.ORG"}, [b, a]),
        ({"recipient": "ann smith"}, [a]),
        ({"recipient": "ann"}, []),
        ({"recipient": "ann@example.org", "state": "blocked"}, []),
        ({"metadata[order]": "1"}, [c, a]),
        ({"metadata[order]": "1", "metadata[shop]": "south"}, [c]),
        ({"metadata[shop]": "south", "metadata[order]": "2"}, []),
        ({"metadata[a=b]": "c"}, [c]),
        ({"metadata[a]": "b=c"}, []),
        ({"metadata[order]": "1", "recipient": "Ann Smith", "state": "active"}, [a]),
        ({"last4": cards[0]["last4"].lower(), "recipient": "ann smith"}, [a]),
        ({"created[gte]": cards[2]["created_at"]}, [elsewhere, blocked, pending, c]),
        ({"created[gt]": cards[2]["created_at"]}, [elsewhere, blocked, pending]),
        ({"created[lt]": cards[2]["created_at"]}, [b, a]),
        ({"created[lte]": cards[2]["created_at"], "metadata[order]": "1"}, [c, a]),
    ]
    for query, found in expected:
        assert await ids_of(http, "/cards", **query) == found, query


async def test_last4_is_read_as_codes_are(http: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    card = await issue(http, shop)
    await owner.execute(
        "update florin.card set last4 = '10AB' where merchant = $1 and last4 = $2",
        shop.merchant,
        card["last4"],
    )
    for typed in (
        "10AB", "10ab", "loab", "IOAB", "l0-ab", " 10ab ", "10ab\r\n", "\uff11\uff10\uff21\uff22",
        "\ufeff10ab", "10\u2011AB",
    ):  # fmt: skip
        assert await ids_of(http, "/cards", last4=typed) == [card["id"]], ascii(typed)
    assert await ids_of(http, "/cards", last4="10AC") == []
    for typed in ("10A", "10ABC", "10A#", "10A\u00e9", "x" * 17):
        answer = await http.get("/cards", params={"last4": typed})
        problem(answer, 422, "invalid_request", param="last4")


async def test_transactions_are_found_by_each_filter(http: httpx.AsyncClient, shop: Shop) -> None:
    one, two = await issue(http, shop), await issue(http, shop)
    first = await redeem(http, one, 10, reference="A-1", location="north")
    second = await redeem(http, one, 20, reference="A-2", location="south")
    third = await redeem(http, two, 30, reference="A-1", location="north")
    refund = await made(http, "/refunds", {"redemption": first["id"], "reference": "A-1"})
    load = await made(http, "/loads", {"card": two["id"], "amount": 5, "reference": "L"})
    moved = await made(http, "/transfers", {"from": one["id"], "to": two["id"], "amount": 7})
    up = await made(http, "/adjustments", {"card": one["id"], "amount": 3, "reason": "r"})
    down = await made(http, "/adjustments", {"card": one["id"], "amount": -2, "reason": "r"})
    hold = await made(http, "/holds", spend(one, 4, reference="H", location="north"))
    gone = await made(http, "/holds", spend(two, 4))
    await made(http, f"/holds/{gone['id']}/void", status=200)

    r1, r2, r3 = first["id"], second["id"], third["id"]
    at = second["created_at"]
    expected: list[tuple[str, dict[str, Any], list[str]]] = [
        ("/redemptions", {}, [r3, r2, r1]),
        ("/redemptions", {"card": one["id"]}, [r2, r1]),
        ("/redemptions", {"reference": "A-1"}, [r3, r1]),
        ("/redemptions", {"reference": "A-1", "card": one["id"]}, [r1]),
        ("/redemptions", {"location": "north"}, [r3, r1]),
        ("/redemptions", {"location": "North"}, []),
        ("/redemptions", {"created[gte]": at}, [r3, r2]),
        ("/redemptions", {"created[lt]": at, "card": one["id"]}, [r1]),
        ("/refunds", {"reference": "A-1"}, [refund["id"]]),
        ("/refunds", {"card": two["id"]}, []),
        ("/loads", {"card": two["id"]}, [load["id"]]),
        ("/loads", {"reference": "L"}, [load["id"]]),
        ("/transfers", {"card": one["id"]}, [moved["id"]]),
        ("/transfers", {"card": two["id"]}, [moved["id"]]),
        ("/adjustments", {"card": one["id"]}, [down["id"], up["id"]]),
        ("/holds", {}, [gone["id"], hold["id"]]),
        ("/holds", {"card": one["id"]}, [hold["id"]]),
        ("/holds", {"state": "open"}, [hold["id"]]),
        ("/holds", {"state": "voided"}, [gone["id"]]),
        ("/holds", {"state": "expired"}, []),
        ("/holds", {"reference": "H", "location": "north"}, [hold["id"]]),
    ]
    for path, query, found in expected:
        assert await ids_of(http, path, **query) == found, (path, query)

    entries = await read(http, "/entries", limit=100)
    seen = await ids_of(http, "/entries")
    assert seen == [each["id"] for each in entries["data"]]
    assert len(seen) == len(set(seen)) == 11
    assert len(await ids_of(http, "/entries", kind="transfer")) == 2
    assert len(await ids_of(http, "/entries", reference="A-1")) == 3
    assert len(await ids_of(http, "/entries", location="north", kind="redeem")) == 2
    assert len(await ids_of(http, "/entries", **{"created[gte]": at})) == 8
    statement = f"/cards/{one['id']}/entries"
    assert len(await ids_of(http, statement)) == 7
    assert len(await ids_of(http, statement, kind="adjust")) == 2
    assert len(await ids_of(http, statement, **{"created[lt]": at})) == 2

    events = await ids_of(http, "/events")
    assert len(events) == len(set(events)) == 14
    assert len(await ids_of(http, "/events", type="card.redeemed")) == 3
    assert len(await ids_of(http, "/events", card=one["id"], type="card.adjusted")) == 2
    assert len(await ids_of(http, "/events", card=two["id"])) == 6
    assert len(await ids_of(http, "/events", **{"created[lt]": at})) == 3
    assert len(await ids_of(http, "/programs", **{"created[gt]": "2020-01-01T00:00:00Z"})) == 1
    assert await ids_of(http, "/programs", **{"created[lt]": "2020-01-01T00:00:00Z"}) == []


async def test_paging_is_stable_during_concurrent_changes(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """Objects that existed when paging began are listed once, despite concurrent changes."""
    cards = await asyncio.gather(*(issue(http, shop) for _ in range(40)))
    await asyncio.gather(*(redeem(http, card, 1) for card in cards))
    paths = ["/cards", "/redemptions", "/entries", "/events"]
    before = {path: await ids_of(http, path, limit=100) for path in paths}
    stop = asyncio.Event()

    async def churn(number: int) -> None:
        while not stop.is_set():
            card = await issue(http, shop)
            await redeem(http, cards[number], 1)
            await post(http, f"/cards/{cards[number]['id']}/block")
            await post(http, f"/cards/{cards[number]['id']}/unblock")
            await redeem(http, card, 1)

    churning = [asyncio.ensure_future(churn(number)) for number in range(4)]
    try:
        for path in paths:
            seen = await ids_of(http, path, limit=7)
            assert len(seen) == len(set(seen)), path
            assert [each for each in seen if each in set(before[path])] == before[path], path
    finally:
        stop.set()
        await asyncio.gather(*churning)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/cards", {"created[gte]": "yesterday"}, "created[gte]"),
        ("/cards", {"created": "2026-01-01T00:00:00Z"}, "created"),
        ("/cards", {"metadata": "x"}, "metadata"),
        ("/cards", {"metadata[]": "x"}, "metadata[]"),
        ("/holds", {"metadata[a]": "x"}, "metadata[a]"),
        ("/cards", {"state": "lost"}, "state"),
        ("/entries", {"kind": "theft"}, "kind"),
        ("/entries", {"starting_after": "ent_x_d"}, "starting_after"),
        ("/cards", {"starting_after": "crd_" + "0" * 32}, "starting_after"),
        ("/redemptions", {"starting_after": "red_" + "0" * 32}, "starting_after"),
        ("/events", {"starting_after": "evt_" + "0" * 32}, "starting_after"),
        ("/holds", {"starting_after": "hld_" + "0" * 32}, "starting_after"),
        ("/loads", {"reference": "x" * 256}, "reference"),
    ],
)
async def test_unknown_filters_are_refused(
    http: httpx.AsyncClient, path: str, query: dict[str, str], param: str
) -> None:
    problem(await http.get(path, params=query), 422, "invalid_request", param=param)


async def test_the_openapi_document_lists_every_filter(http: httpx.AsyncClient) -> None:
    paths: Json = (await http.get("/openapi.json")).json()["paths"]
    times = {"created[gt]", "created[gte]", "created[lt]", "created[lte]"}
    for path in ("cards", "redemptions", "holds", "entries", "events", "programs", "refunds"):
        names = {each.get("name") for each in paths[f"/api/v1/{path}"]["get"]["parameters"]}
        assert times | {"limit", "starting_after"} <= names, path
    assert "metadata" in {each.get("name") for each in paths["/api/v1/cards"]["get"]["parameters"]}


async def test_a_list_accepts_ten_metadata_filters_at_most(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """Each filter adds a join for the planner: hundreds would take minutes to plan."""
    metadata = {f"k{n}": f"{n}" for n in range(METADATA_FILTERS_MAX)}
    card = await issue(http, shop, metadata=metadata)
    pairs = {f"metadata[{name}]": value for name, value in metadata.items()}
    assert [each["id"] for each in (await read(http, "/cards", **pairs))["data"]] == [card["id"]]
    answer = await http.get("/cards", params={**pairs, "metadata[more]": "x"})
    problem(answer, 422, "invalid_request", param="metadata")
    for count in (50, 100, 300):
        many = {f"metadata[{n}]": "x" for n in range(count)}
        refused = problem(await http.get("/cards", params=many), 422, "invalid_request")
        assert refused["param"].startswith("metadata")
