"""Cards over HTTP: issue, look-up and changes of state; every rule of the contract."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.api_calls import Json, balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop

FIELDS = {
    "id", "object", "program", "state", "blocked", "currency", "balance", "held", "available",
    "code", "last4", "recipient", "issued_at", "expires_at", "metadata", "reference",
    "created_at",
}  # fmt: skip


async def change(http: httpx.AsyncClient, card: Json, verb: str) -> Json:
    return await made(http, f"/cards/{card['id']}/{verb}", status=200)


async def state_of(http: httpx.AsyncClient, card: Json) -> str:
    found: str = (await read(http, f"/cards/{card['id']}"))["state"]
    return found


async def test_a_card_as_it_is_issued(http: httpx.AsyncClient, shop: Shop) -> None:
    recipient = {"name": "Ada", "email": "ada@example.org"}
    answer = await post(
        http,
        "/cards",
        {"program": shop.program, "amount": 2500, "recipient": recipient, "metadata": {"o": "1"}},
    )
    assert answer.status_code == 201
    assert answer.headers["florin-consistency"]
    card = answer.json()
    assert set(card) == FIELDS
    assert card["object"] == "card"
    assert card["id"].startswith("crd_")
    assert (card["program"], card["currency"], card["state"]) == (shop.program, "EUR", "active")
    assert (card["balance"], card["held"], card["available"]) == (2500, 0, 2500)
    assert card["code"].endswith(card["last4"])
    assert (card["recipient"], card["metadata"]) == (recipient, {"o": "1"})
    issued, expires = (datetime.fromisoformat(card[n]) for n in ("issued_at", "expires_at"))
    assert card["issued_at"].endswith("Z")
    assert abs(datetime.now(UTC) - issued) < timedelta(minutes=5)
    # Five years, to the end of the day in the merchant's time zone.
    assert (expires.hour, expires.minute, expires.second) == (0, 0, 0)
    assert timedelta(days=5 * 365) < expires - issued < timedelta(days=5 * 365 + 3)
    later = await read(http, f"/cards/{card['id']}")
    assert later == card | {"code": None}


async def test_a_pending_card_has_no_liability_until_it_is_activated(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 700, activate=False)
    assert (card["state"], card["balance"], card["expires_at"]) == ("pending", 0, None)
    assert card["code"] is not None
    assert (await read(http, "/ledger/balances"))["liability"] == 0
    for path, body in (
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
        (f"/cards/{card['id']}/block", None),
        (f"/cards/{card['id']}/unblock", None),
        (f"/cards/{card['id']}/reinstate", None),
    ):
        problem(await post(http, path, body), 402, "card_not_active")
    active = await change(http, card, "activate")
    assert (active["state"], active["balance"], active["available"]) == ("active", 700, 700)
    assert active["expires_at"] is not None
    assert (await read(http, "/ledger/balances"))["liability"] == 700
    again = await change(http, card, "activate")
    assert again == active
    assert (await read(http, f"/cards/{card['id']}/entries"))["data"][0]["kind"] == "activate"


async def test_a_card_must_be_within_the_limits_of_its_program(http: httpx.AsyncClient) -> None:
    limits = {"name": "P", "currency": "USD", "min_amount": 500, "max_amount": 2000}
    program = (await made(http, "/programs", limits | {"denominations": [2000, 500]}))["id"]
    for amount in (499, 2001, 1000):
        answer = await post(http, "/cards", {"program": program, "amount": amount})
        problem(answer, 422, "amount_not_allowed")
    card = await made(http, "/cards", {"program": program, "amount": 2000})
    assert (card["currency"], card["expires_at"]) == ("USD", None)
    await http.patch(f"/programs/{program}", json={"denominations": None, "max_amount": 3000})
    assert (await made(http, "/cards", {"program": program, "amount": 2999}))["balance"] == 2999
    problem(
        await post(http, "/cards", {"program": "prg_0", "amount": 5}), 404, "not_found",
        param="program",
    )  # fmt: skip


async def test_a_program_reads_back(http: httpx.AsyncClient) -> None:
    body = {
        "name": "Summer", "currency": "EUR", "min_amount": 100, "max_amount": 900,
        "denominations": [100, 900], "expires_after_months": 12, "partial_redemption": False,
        "metadata": {"k": "v"},
    }  # fmt: skip
    program = await made(http, "/programs", body)
    assert program["object"] == "program"
    assert {name: program[name] for name in body} == body
    assert await read(http, f"/programs/{program['id']}") == program
    changed = await http.patch(f"/programs/{program['id']}", json={"name": "Winter"})
    assert changed.json() == program | {"name": "Winter"}
    for wrong, param in (
        ({"currency": "USD"}, "currency"),
        ({"min_amount": 1000}, "min_amount"),
        ({"denominations": [50]}, "denominations"),
    ):
        answer = await http.patch(f"/programs/{program['id']}", json=wrong)
        problem(answer, 422, "invalid_request", param=param)
    wrong = body | {"currency": "ABC"}
    problem(await post(http, "/programs", wrong), 422, "invalid_request", param="currency")


async def test_a_code_is_accepted_in_every_usual_spelling(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop)
    code: str = card["code"]
    plain = code.replace("-", "")
    typed = [code, plain, code.lower(), f"  {plain[:5]} {plain[5:]} ", code.replace("-", " - ")]
    typed += [plain.replace("0", "O").replace("1", "l")]
    typed += [f"{code}\r\n", f"\ufeff{code}", code.replace("-", "\u2011"), f"{code}\u00a0\u200b"]
    for each in typed:
        answer = await http.post("/cards/lookup", json={"code": each})
        assert answer.status_code == 200, (each, answer.text)
        assert answer.json() == card | {"code": None}
        assert "florin-consistency" not in answer.headers
    # Any single wrong symbol, and any two exchanged neighbours, are detected as malformed.
    for n, symbol in enumerate(plain):
        wrong = plain[:n] + ("7" if symbol != "7" else "8") + plain[n + 1 :]
        answer = await http.post("/cards/lookup", json={"code": wrong})
        problem(answer, 422, "code_malformed", param="code")
        if n and plain[n - 1] != symbol:
            wrong = plain[: n - 1] + symbol + plain[n - 1] + plain[n + 1 :]
            problem(await http.post("/cards/lookup", json={"code": wrong}), 422, "code_malformed")
    body = {"code": "nonsense", "amount": 1, "currency": "EUR"}
    for path in ("/redemptions", "/holds"):
        problem(await post(http, path, body), 422, "code_malformed")
    body["code"] = "0000-0000-0000-0000"
    for path in ("/redemptions", "/holds"):
        problem(await post(http, path, body), 404, "card_not_found")
    problem(await http.post("/cards/lookup", json={"code": body["code"]}), 404, "card_not_found")


async def test_blocked_and_unblocked(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    spent = await redeem(http, card, 30)
    held = await made(http, "/holds", spend(card, 10))
    for _ in range(2):  # also in the same state
        assert (await change(http, card, "block"))["state"] == "blocked"
    for path, body in (
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
        ("/adjustments", {"card": card["id"], "amount": 1, "reason": "x"}),
        (f"/holds/{held['id']}/capture", None),
        (f"/cards/{card['id']}/activate", None),
        (f"/cards/{card['id']}/reinstate", None),
    ):
        problem(await post(http, path, body), 402, "card_blocked")
    # A refund is posted and does not change the state.
    refund = await made(http, "/refunds", {"redemption": spent["id"], "amount": 5})
    assert (refund["balance"], await state_of(http, card)) == (75, "blocked")
    for _ in range(2):
        assert (await change(http, card, "unblock"))["state"] == "active"
    assert (await redeem(http, card, 1))["balance"] == 74


async def test_closing_needs_an_empty_card(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    spent = await redeem(http, card, 60)
    problem(await post(http, f"/cards/{card['id']}/close"), 402, "card_not_empty")
    held = await made(http, "/holds", spend(card, 40))
    problem(await post(http, f"/cards/{card['id']}/close"), 402, "card_not_empty")
    await made(http, f"/holds/{held['id']}/capture", status=200)
    for _ in range(2):
        assert (await change(http, card, "close"))["state"] == "closed"
    bodies: list[tuple[str, Any]] = [
        (f"/cards/{card['id']}/{verb}", None)
        for verb in ("activate", "block", "unblock", "reinstate", "rotate-code", "reset-pin")
    ]
    bodies += [
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
        ("/refunds", {"redemption": spent["id"]}),
    ]
    for path, body in bodies:
        problem(await post(http, path, body), 402, "card_closed")
    await balanced(http)


async def test_the_old_code_does_not_work_after_rotation(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop)
    rotated = await change(http, card, "rotate-code")
    assert rotated["code"] not in {None, card["code"]}
    assert rotated["last4"] == rotated["code"][-4:]
    old, new = {"code": card["code"]}, {"code": rotated["code"]}
    problem(await http.post("/cards/lookup", json=old), 404, "card_not_found")
    assert (await http.post("/cards/lookup", json=new)).json()["id"] == card["id"]
    body = {"amount": 1, "currency": "EUR"}
    problem(await post(http, "/redemptions", old | body), 404, "card_not_found")
    assert (await made(http, "/redemptions", new | body))["card"] == card["id"]
    assert (await read(http, f"/cards/{card['id']}"))["code"] is None


async def test_a_card_past_its_expiry_date_reads_as_expired(aging: Any) -> None:
    http, shop, pass_time = aging
    card = await issue(http, shop, 100)
    spent = await redeem(http, card, 30)
    held = await made(http, "/holds", spend(card, 20, expires_in=31_536_000))
    await pass_time(days=5 * 365 - 10)
    assert await state_of(http, card) == "active"
    late = await made(http, "/holds", spend(card, 10, expires_in=31_536_000))
    await pass_time(days=20)
    assert await state_of(http, card) == "expired"
    for path, body in (
        ("/redemptions", spend(card, 1)),
        ("/holds", spend(card, 1)),
        ("/loads", {"card": card["id"], "amount": 1}),
        (f"/cards/{card['id']}/activate", None),
    ):
        problem(await post(http, path, body), 402, "card_expired")
    problem(await post(http, f"/holds/{held['id']}/capture"), 402, "hold_not_open")
    # An earlier hold can be captured and a refund is posted; neither changes the state.
    assert (await made(http, f"/holds/{late['id']}/capture", status=200))["state"] == "captured"
    refund = await made(http, "/refunds", {"redemption": spent["id"]})
    assert (refund["balance"], await state_of(http, card)) == (90, "expired")
    again = await change(http, card, "reinstate")
    assert (again["state"], again["balance"], again["held"]) == ("active", 90, 0)
    assert (await redeem(http, card, 90))["balance"] == 0
    await balanced(http)


async def listed_as(http: Any, card: Json, state: str) -> bool:
    page = await read(http, "/cards", state=state, limit=100)
    return card["id"] in [each["id"] for each in page["data"]]


@pytest.mark.parametrize("swept", [False, True])
async def test_a_card_stays_blocked_after_reinstatement(
    aging: Any, owner: Any, swept: bool
) -> None:
    http, shop, pass_time = aging
    card = await issue(http, shop, 100)
    held = await made(http, "/holds", spend(card, 20, expires_in=31_536_000))
    await pass_time(days=5 * 365 - 10)
    late = await made(http, "/holds", spend(card, 10, expires_in=31_536_000))
    assert (await change(http, card, "block"))["blocked"] is True
    await pass_time(days=20)
    if swept:
        await owner.execute("select expire_due($1, $2, 'florin')", shop.merchant, [uuid4()])
    now = await read(http, f"/cards/{card['id']}")
    assert (now["state"], now["blocked"]) == ("expired", True)
    assert await listed_as(http, card, "expired")
    assert not await listed_as(http, card, "blocked")
    problem(await post(http, "/redemptions", spend(card, 1)), 402, "card_expired")
    problem(await post(http, f"/holds/{late['id']}/capture"), 402, "card_blocked")
    problem(await post(http, f"/holds/{held['id']}/capture"), 402, "hold_not_open")
    again = await change(http, card, "reinstate")
    assert (again["state"], again["blocked"], again["balance"]) == ("blocked", True, 100)
    problem(await post(http, "/redemptions", spend(card, 1)), 402, "card_blocked")
    free = await change(http, card, "unblock")
    assert (free["state"], free["blocked"]) == ("active", False)
    assert (await redeem(http, card, 5))["balance"] == 95
    await balanced(http)


async def test_an_expired_card_is_blocked_and_unblocked(aging: Any) -> None:
    http, shop, pass_time = aging
    card = await issue(http, shop, 100)
    await pass_time(days=5 * 365 + 10)
    for operation, blocked in (
        ("block", True),
        ("block", True),
        ("unblock", False),
        ("block", True),
    ):
        now = await change(http, card, operation)
        assert (now["state"], now["blocked"]) == ("expired", blocked)
    assert (await change(http, card, "reinstate"))["state"] == "blocked"
    await balanced(http)


async def test_a_change_of_the_program_applies_to_later_cards(aging: Any) -> None:
    """The program's months at issue apply, also to activation and reinstatement."""
    http, shop, pass_time = aging
    pending = await issue(http, shop, 100, activate=False)
    sold = await issue(http, shop, 100)
    changed = await http.patch(f"/programs/{shop.program}", json={"expires_after_months": 1})
    assert changed.status_code == 200, changed.text
    active = await change(http, pending, "activate")
    assert active["expires_at"] == sold["expires_at"]
    await pass_time(days=5 * 365 + 10)
    again = await change(http, sold, "reinstate")
    assert int(again["expires_at"][:4]) - int(sold["expires_at"][:4]) == 5
    later = await issue(http, shop, 100)
    assert later["expires_at"] < again["expires_at"]
