"""Card changes over HTTP: limits of a program, dates of a card, and corrections."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.support.api_calls import Json, balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop

LATER = "2031-03-01T00:00:00Z"


async def limited_card(http: httpx.AsyncClient, **more: Any) -> Json:
    limits = {"max_balance": 5000, "max_per_payment": 300}
    body = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 4000, **limits}
    program = await made(http, "/programs", body)
    assert {name: program[name] for name in limits} == limits
    return await made(http, "/cards", {"program": program["id"], "amount": 4000, **more})


async def test_a_payment_takes_at_most_what_the_program_allows(http: httpx.AsyncClient) -> None:
    card = await limited_card(http)
    for path in ("/redemptions", "/holds"):
        problem(await post(http, path, spend(card, 301)), 402, "payment_limit_exceeded")
        assert (await made(http, path, spend(card, 300)))["amount"] == 300
    rest = await made(http, "/redemptions", spend(card, 1000) | {"allow_remainder": True})
    assert rest["amount"] == 300
    await balanced(http)


async def test_a_card_holds_at_most_what_the_program_allows(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await limited_card(http)
    await made(http, "/loads", {"card": card["id"], "amount": 1000})
    other = await issue(http, shop, 100)
    for path, body in (
        ("/loads", {"card": card["id"], "amount": 1}),
        ("/adjustments", {"card": card["id"], "amount": 1, "reason": "gift"}),
        ("/transfers", {"from": other["id"], "to": card["id"], "amount": 1}),
    ):
        problem(await post(http, path, body), 402, "balance_limit_exceeded")
    spent = await redeem(http, card, 200)
    await made(http, "/loads", {"card": card["id"], "amount": 200})
    await made(http, "/refunds", {"redemption": spent["id"]})  # what was spent always returns
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 5200
    await balanced(http)


async def test_limits_are_those_of_the_issue_and_make_sense(http: httpx.AsyncClient) -> None:
    card = await limited_card(http)
    path = f"/programs/{card['program']}"
    changed = await http.patch(path, json={"max_per_payment": None, "max_balance": 4000})
    assert (changed.json()["max_per_payment"], changed.json()["max_balance"]) == (None, 4000)
    problem(await post(http, "/redemptions", spend(card, 301)), 402, "payment_limit_exceeded")
    newer = await made(http, "/cards", {"program": card["program"], "amount": 4000})
    assert (await redeem(http, newer, 4000))["balance"] == 0
    for less in ({"max_balance": 3999}, {"max_amount": 4001}):
        problem(await http.patch(path, json=less), 422, "invalid_request", param="max_balance")


async def test_a_date_may_be_given_at_issue(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, expires_at="2031-03-01T01:00:00+01:00")
    assert card["expires_at"] == LATER
    pending = await issue(http, shop, 100, activate=False, expires_at=LATER)
    assert pending["expires_at"] == LATER
    active = await made(http, f"/cards/{pending['id']}/activate", status=200)
    assert active["expires_at"] == LATER
    now = datetime.now(UTC)
    for wrong in (now - timedelta(seconds=1), now + timedelta(days=36_600)):
        body = {"program": shop.program, "amount": 1, "expires_at": wrong.isoformat()}
        problem(await post(http, "/cards", body), 422, "expiry_not_allowed", param="expires_at")
    body = {"program": shop.program, "amount": 1, "expires_at": "9999-12-31T23:00:00-05:00"}
    problem(await post(http, "/cards", body), 422, "invalid_request", param="expires_at")
    body = {"program": shop.program, "amount": 1, "expires_at": "2031-03-01T00:00:00"}
    problem(await post(http, "/cards", body), 422, "invalid_request", param="expires_at")


async def test_a_pending_card_whose_date_has_passed_is_not_activated(aging: Any) -> None:
    http, shop, pass_time = aging
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    card = await issue(http, shop, 100, activate=False, expires_at=soon)
    await pass_time(days=3)
    problem(await post(http, f"/cards/{card['id']}/activate", None), 402, "card_expired")
    assert (await read(http, "/ledger/balances"))["liability"] == 0


async def test_a_card_is_extended_once_with_its_reason(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, expires_at="2030-01-01T00:00:00Z")
    path, body = f"/cards/{card['id']}/extend", {"expires_at": LATER, "reason": "a complaint"}
    first = await http.post(path, json=body, headers={"idempotency-key": "extend-1"})
    assert first.status_code == 200, first.text
    assert first.json() == card | {"code": None, "expires_at": LATER}
    again = await http.post(path, json=body, headers={"idempotency-key": "extend-1"})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert (await http.post(path, json=body)).json() == first.json()  # already so
    events = (await read(http, "/events", card=card["id"]))["data"]
    assert [each["type"] for each in events] == ["card.extended", "card.issued"]
    expires_at = datetime.fromisoformat(events[0]["data"]["object"]["expires_at"])
    assert expires_at == datetime.fromisoformat(LATER)
    (record,) = (await read(http, "/audit", subject=card["id"]))["data"]
    assert (record["action"], record["after"]["reason"]) == ("card.extended", "a complaint")
    for earlier in ("2031-02-28T23:59:59Z", "2020-01-01T00:00:00Z"):
        problem(
            await http.post(path, json=body | {"expires_at": earlier}), 422, "expiry_not_allowed"
        )
    await balanced(http)


async def test_only_a_card_that_has_not_ended_is_extended(aging: Any) -> None:
    http, shop, pass_time = aging
    body = {"expires_at": LATER, "reason": "r"}
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    expired = await issue(http, shop, 100, expires_at=soon)
    pending = await issue(http, shop, 100, activate=False)
    await made(http, f"/cards/{pending['id']}/extend", body, status=200)
    blocked = await issue(http, shop, 100)
    await made(http, f"/cards/{blocked['id']}/block", status=200)
    longest = {"expires_at": "2090-01-01T00:00:00Z", "reason": "r"}
    kept = await made(http, f"/cards/{blocked['id']}/extend", longest, status=200)
    assert kept["state"] == "blocked"
    await pass_time(days=3)
    problem(await http.post(f"/cards/{expired['id']}/extend", json=body), 402, "card_expired")
    endless = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 10}
    program = await made(http, "/programs", endless)
    never = await made(http, "/cards", {"program": program["id"], "amount": 1})
    problem(await http.post(f"/cards/{never['id']}/extend", json=body), 422, "expiry_not_allowed")
    problem(await http.post("/cards/crd_0/extend", json=body), 404, "card_not_found")


async def test_recipient_and_metadata_are_corrected(http: httpx.AsyncClient, shop: Shop) -> None:
    recipient = {"name": "Ada", "email": "ada@exmaple.org"}
    card = await issue(http, shop, 100, recipient=recipient, metadata={"o": "1"})
    path, right = f"/cards/{card['id']}", {"name": "Ada", "email": "ada@example.org"}
    changed = await http.patch(path, json={"recipient": right})
    assert changed.status_code == 200, changed.text
    assert changed.json() == card | {"code": None, "recipient": right}
    found = await read(http, "/cards", recipient="ada@example.org")
    assert [each["id"] for each in found["data"]] == [card["id"]]
    body, key = {"metadata": {"o": "2"}}, {"idempotency-key": "change-1"}
    assert (await http.patch(path, json=body, headers=key)).json()["metadata"] == {"o": "2"}
    again = await http.patch(path, json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert [x["id"] for x in (await read(http, "/cards", **{"metadata[o]": "2"}))["data"]] == [
        card["id"]
    ]
    assert (await read(http, "/cards", **{"metadata[o]": "1"}))["data"] == []
    assert (await http.patch(path, json={"recipient": None})).json()["recipient"] is None
    events = (await read(http, "/events", card=card["id"]))["data"]
    assert [each["type"] for each in events] == ["card.changed"] * 3 + ["card.issued"]
    assert "exmaple" not in str(events)
    problem(await http.patch(path, json={}), 422, "invalid_request")
    await made(http, "/redemptions", spend(card, 100))
    await made(http, f"/cards/{card['id']}/close", status=200)
    problem(await http.patch(path, json=body), 402, "card_closed")
    problem(await http.patch("/cards/crd_0", json=body), 404, "card_not_found")
