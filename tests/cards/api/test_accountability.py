"""Accountability: every event has its actor, and the audit log has every change of a card."""

from datetime import timedelta
from typing import Any

import httpx

from florin.cards.jobs.expiry import expire_some
from florin.kit.postgres.database import Database
from tests.support.api_calls import Json, issue, made, post, read, redeem, spend
from tests.support.instance import Shop


async def actors(http: httpx.AsyncClient, **only: str) -> dict[str, set[str | None]]:
    """The actors of the events, by type."""
    found: dict[str, set[str | None]] = {}
    for event in (await read(http, "/events", limit=100, **only))["data"]:
        found.setdefault(event["type"], set()).add(event["actor"])
    return found


async def every_event(http: httpx.AsyncClient, shop: Shop) -> Json:
    """Cause events of every type a caller can; return the card most of them are about."""
    card, other = await issue(http, shop, 1000, pin=True), await issue(http, shop, 1000)
    pending = await issue(http, shop, 1000, activate=False)
    await made(http, f"/cards/{pending['id']}/activate", status=200)
    redemption = await redeem(http, card, 100)
    await made(http, "/refunds", {"redemption": redemption["id"]})
    for then in ("capture", "void"):
        hold = await made(http, "/holds", spend(card, 10))
        await made(
            http, f"/holds/{hold['id']}/{then}", {} if then == "capture" else None, status=200
        )
    await made(http, "/loads", {"card": card["id"], "amount": 10})
    await made(http, "/transfers", {"from": other["id"], "to": card["id"], "amount": 1000})
    await made(http, "/adjustments", {"card": card["id"], "amount": 1, "reason": "r"})
    for operation in ("rotate-code", "reset-pin", "block", "unblock"):
        await made(http, f"/cards/{card['id']}/{operation}", status=200)
    await made(http, f"/cards/{other['id']}/close", status=200)
    return card


async def test_every_event_names_its_actor(http: httpx.AsyncClient, shop: Shop) -> None:
    me = (await read(http, "/auth/me"))["actor"]
    await every_event(http, shop)
    found = await actors(http)
    assert set(found) == {
        *("card.issued", "card.activated", "card.redeemed", "card.refunded", "card.loaded"),
        *("card.transferred", "card.adjusted", "card.code_rotated", "card.pin_reset"),
        *("card.blocked", "card.unblocked", "card.closed"),
        *("hold.created", "hold.captured", "hold.voided"),
    }
    assert all(who == {me} for who in found.values()), found
    latest = (await read(http, "/events", limit=1))["data"][0]
    assert (await read(http, f"/events/{latest['id']}")) == latest


async def test_events_caused_by_time_have_the_actor_florin(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    """An expired hold, found by a payment, and a card past its expiry date."""
    me = (await read(http, "/auth/me"))["actor"]
    card, ending = await issue(http, shop, 1000), await issue(http, shop, 1000)
    await made(http, "/holds", spend(card, 10))
    await owner.execute(
        "update florin.hold set expires_at = now() - interval '1 s' where merchant = $1",
        shop.merchant,
    )
    await redeem(http, card, 1)
    await owner.execute(
        "update florin.account set expires_at = now() - $2::interval where id = $1::text::uuid",
        ending["id"].removeprefix("crd_"),
        timedelta(days=1),
    )
    async with database.transaction() as tx:
        assert await expire_some(tx, shop.merchant, 10) == 1
    await made(http, f"/cards/{ending['id']}/reinstate", status=200)
    found = await actors(http)
    assert (found["hold.expired"], found["card.expired"]) == ({"florin"}, {"florin"})
    assert (found["card.redeemed"], found["card.reinstated"]) == ({me}, {me})
    kept = (await read(http, "/audit", action="card.reinstated"))["data"]
    assert [(record["actor"], record["subject"]) for record in kept] == [(me, ending["id"])]


async def test_changes_of_a_card_are_in_the_audit_log(http: httpx.AsyncClient, shop: Shop) -> None:
    me = (await read(http, "/auth/me"))["actor"]
    card = await every_event(http, shop)
    records = (await read(http, "/audit", subject=card["id"]))["data"]
    done = ["card.code_rotated", "card.pin_reset", "card.blocked", "card.unblocked"]
    assert [record["action"] for record in reversed(records)] == done
    assert {record["actor"] for record in records} == {me}
    closed = (await read(http, "/audit", action="card.closed"))["data"]
    assert [record["actor"] for record in closed] == [me]
    assert card["code"] not in str(records)


async def test_requests_without_an_effect_are_not_in_the_audit_log(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 1000)
    for under in ("block once", "block once", "block again"):
        answer = await post(http, f"/cards/{card['id']}/block", under=under)
        assert answer.status_code == 200
    assert (await post(http, f"/cards/{card['id']}/reinstate")).status_code == 402
    records = (await read(http, "/audit", subject=card["id"]))["data"]
    assert [record["action"] for record in records] == ["card.blocked"]
