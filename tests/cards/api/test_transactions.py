"""Transactions over HTTP: redemptions, refunds, loads, transfers and adjustments."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.api_calls import balanced, issue, made, post, problem, read, redeem, spend
from tests.support.instance import Shop

REDEMPTION = {
    "id", "object", "card", "amount", "currency", "balance", "refunded", "hold", "reference",
    "location", "metadata", "created_at",
}  # fmt: skip
MOST = 10**12


@pytest.mark.parametrize("named", ["card", "code"])
async def test_a_redemption(http: httpx.AsyncClient, shop: Shop, named: str) -> None:
    card = await issue(http, shop, 100)
    body: dict[str, Any] = {
        named: card["id" if named == "card" else "code"], "amount": 30, "currency": "EUR",
        "reference": "receipt 1", "location": "till 2", "metadata": {"a": "b"},
    }  # fmt: skip
    answer = await post(http, "/redemptions", body)
    assert answer.status_code == 201
    assert answer.headers["florin-consistency"]
    spent = answer.json()
    assert set(spent) == REDEMPTION
    assert (spent["object"], spent["card"]) == ("redemption", card["id"])
    assert (spent["amount"], spent["balance"], spent["refunded"]) == (30, 70, 0)
    assert {name: spent[name] for name in ("reference", "location", "metadata")} == {
        name: body[name] for name in ("reference", "location", "metadata")
    }
    assert await read(http, f"/redemptions/{spent['id']}") == spent
    (latest, first) = (await read(http, f"/cards/{card['id']}/entries"))["data"]
    assert (latest["kind"], latest["amount"], latest["balance_after"]) == ("redeem", -30, 70)
    assert (latest["sequence"], latest["reference"]) == (2, "receipt 1")
    assert (first["kind"], first["amount"], first["sequence"]) == ("issue", 100, 1)


async def test_redemptions_are_refused_with_the_right_code(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 100)
    answer = await post(http, "/redemptions", spend(card, 101))
    assert problem(answer, 402, "insufficient_funds")["available"] == 100
    other = spend(card, 1) | {"currency": "USD"}
    problem(await post(http, "/redemptions", other), 422, "currency_mismatch")
    for both in ({"code": card["code"], "card": card["id"]}, {}):
        body = {**both, "amount": 1, "currency": "EUR"}
        problem(await post(http, "/redemptions", body), 422, "invalid_request")
    unknown = {"card": "crd_nonsense", "amount": 1, "currency": "EUR"}
    problem(await post(http, "/redemptions", unknown), 404, "card_not_found")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 100


async def test_allow_remainder_spends_what_is_left(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    await made(http, "/holds", spend(card, 40))
    spent = await redeem(http, card, 500, allow_remainder=True)
    assert (spent["amount"], spent["balance"]) == (60, 40)
    answer = await post(http, "/redemptions", spend(card, 1, allow_remainder=True))
    assert problem(answer, 402, "insufficient_funds")["available"] == 0


async def test_simulating_has_no_effect(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    for body, amount, balance in (
        (spend(card, 30, simulate=True), 30, 70),
        (spend(card, 300, simulate=True, allow_remainder=True), 100, 0),
    ):
        answer = await http.post("/redemptions", json=body)
        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["amount"], shown["balance"]) == (amount, balance)
        problem(await http.get(f"/redemptions/{shown['id']}"), 404, "not_found")
    answer = await http.post("/redemptions", json=spend(card, 101, simulate=True))
    problem(answer, 402, "insufficient_funds")
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 100
    assert len((await read(http, f"/cards/{card['id']}/entries"))["data"]) == 1
    assert len((await read(http, "/events", card=card["id"]))["data"]) == 1


async def test_partial_redemption_can_be_forbidden(http: httpx.AsyncClient, shop: Shop) -> None:
    rules = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 500}
    whole = await made(http, "/programs", rules | {"partial_redemption": False})
    card = await made(http, "/cards", {"program": whole["id"], "amount": 100})
    code = "partial_redemption_not_allowed"
    problem(await post(http, "/redemptions", spend(card, 99)), 402, code)
    problem(await post(http, "/holds", spend(card, 99)), 402, code)
    other = await issue(http, shop)
    move = {"from": card["id"], "to": other["id"], "amount": 99}
    problem(await post(http, "/transfers", move), 402, code)
    held = await made(http, "/holds", spend(card, 100))
    problem(await post(http, f"/holds/{held['id']}/capture", {"amount": 99}), 402, code)
    await made(http, f"/holds/{held['id']}/void", status=200)
    assert (await redeem(http, card, 100))["balance"] == 0


async def test_a_batch_answers_each_item_in_order(http: httpx.AsyncClient, shop: Shop) -> None:
    card, other = await issue(http, shop, 100), await issue(http, shop, 10)
    items: list[Any] = [
        spend(card, 60, idempotency_key="1"),
        spend(card, 60, idempotency_key="2"),
        {"code": other["code"], "amount": 5, "currency": "EUR", "idempotency_key": "3"},
        spend(card, 40),
        spend(card, 40, idempotency_key="5", surprise=1),
        spend(card, 0, idempotency_key="6"),
        spend(card, 5, simulate=True),
        "nonsense",
        spend(card, 60, idempotency_key="1"),
        {"code": "0", "amount": 5, "currency": "EUR", "idempotency_key": "10"},
    ]
    answer = await http.post("/redemptions/batch", json={"redemptions": items})
    assert answer.status_code == 200
    assert answer.headers["florin-consistency"]
    body = answer.json()
    assert body["object"] == "list"
    shown = [
        (
            line["status"],
            line["problem"]["code"] if "problem" in line else line["redemption"]["balance"],
        )
        for line in body["data"]
    ]
    assert shown == [
        (201, 40), (402, "insufficient_funds"), (201, 5), (400, "idempotency_key_required"),
        (422, "invalid_request"), (422, "invalid_request"), (200, 35), (422, "invalid_request"),
        (201, 40), (422, "code_malformed"),
    ]  # fmt: skip
    assert body["data"][0]["redemption"] == body["data"][8]["redemption"]
    assert body["data"][4]["problem"]["param"] == "surprise"
    assert (await read(http, f"/cards/{card['id']}"))["balance"] == 40
    mistaken: list[Any] = [{"redemptions": []}, {"redemptions": items[:1] * 1001}, {}]
    for wrong in (*mistaken, {"redemptions": 1}):
        answer = await http.post("/redemptions/batch", json=wrong)
        problem(answer, 422, "invalid_request", param="redemptions")


async def test_refunds(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100)
    spent = await redeem(http, card, 80)
    refund = await made(
        http, "/refunds", {"redemption": spent["id"], "amount": 30, "reference": "back"}
    )
    assert refund["object"] == "refund"
    assert (refund["redemption"], refund["card"]) == (spent["id"], card["id"])
    assert (refund["amount"], refund["currency"], refund["balance"]) == (30, "EUR", 50)
    assert await read(http, f"/refunds/{refund['id']}") == refund
    assert (await read(http, f"/redemptions/{spent['id']}"))["refunded"] == 30
    over = {"redemption": spent["id"], "amount": 51}
    problem(await post(http, "/refunds", over), 402, "refund_exceeds_redemption")
    rest = await made(http, "/refunds", {"redemption": spent["id"]})
    assert (rest["amount"], rest["balance"]) == (50, 100)
    for amount in ({}, {"amount": 1}):
        answer = await post(http, "/refunds", {"redemption": spent["id"], **amount})
        problem(answer, 402, "refund_exceeds_redemption")
    for nothing in ("red_nonsense", refund["id"], f"red_{'0' * 32}"):
        problem(await post(http, "/refunds", {"redemption": nothing}), 404, "not_found")
    await balanced(http)


async def test_loads_transfers_and_adjustments(http: httpx.AsyncClient, shop: Shop) -> None:
    card, other = await issue(http, shop, 100), await issue(http, shop, 100)
    load = await made(http, "/loads", {"card": card["id"], "amount": 50})
    assert (load["object"], load["amount"], load["balance"]) == ("load", 50, 150)
    move = {"from": card["id"], "to": other["id"], "amount": 70}
    moved = await made(http, "/transfers", move)
    assert (moved["object"], moved["from"], moved["to"]) == ("transfer", card["id"], other["id"])
    assert (moved["amount"], moved["from_balance"], moved["to_balance"]) == (70, 80, 170)
    up = {"card": card["id"], "amount": 5, "reason": "counted again"}
    raised = await made(http, "/adjustments", up)
    assert (raised["object"], raised["amount"], raised["balance"]) == ("adjustment", 5, 85)
    lowered = await made(http, "/adjustments", up | {"amount": -85})
    assert (lowered["amount"], lowered["balance"]) == (-85, 0)
    assert lowered["reason"] == "counted again"
    for plural, noun in (("loads", load), ("transfers", moved), ("adjustments", lowered)):
        assert await read(http, f"/{plural}/{noun['id']}") == noun
    problem(await post(http, "/transfers", move), 402, "insufficient_funds")
    problem(await post(http, "/adjustments", up | {"amount": -1}), 402, "insufficient_funds")
    itself = {"from": card["id"], "to": card["id"], "amount": 1}
    problem(await post(http, "/transfers", itself), 422, "invalid_request", param="to")
    problem(
        await post(http, "/adjustments", up | {"amount": 0}), 422, "invalid_request", param="amount"
    )
    problem(
        await post(http, "/adjustments", up | {"reason": ""}),
        422,
        "invalid_request",
        param="reason",
    )
    rules = {"name": "P", "currency": "USD", "min_amount": 1, "max_amount": 500}
    dollars = (await made(http, "/programs", rules))["id"]
    foreign = await made(http, "/cards", {"program": dollars, "amount": 100})
    move = {"from": other["id"], "to": foreign["id"], "amount": 1}
    problem(await post(http, "/transfers", move), 422, "currency_mismatch")
    await made(http, f"/cards/{foreign['id']}/block", status=200)
    problem(await post(http, "/transfers", move), 402, "card_blocked")
    await balanced(http)


async def test_a_refused_transfer_names_the_card_that_caused_it(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    good = await issue(http, shop, 100)
    for state, code in (
        ("blocked", "card_blocked"), ("closed", "card_closed"), ("pending", "card_not_active"),
        ("expired", "card_expired"), ("unknown", "card_not_found"), ("malformed", "card_not_found"),
    ):  # fmt: skip
        bad = (await issue(http, shop, 100, activate=state != "pending"))["id"]
        if state == "blocked":
            await made(http, f"/cards/{bad}/block", status=200)
        elif state == "closed":
            taken = {"card": bad, "amount": -100, "reason": "to close it"}
            await made(http, "/adjustments", taken)
            await made(http, f"/cards/{bad}/close", status=200)
        elif state == "expired":
            await owner.execute(
                "update florin.account set expires_at = clock_timestamp() - interval '1 minute'"
                " where merchant = $1 and id = $2",
                shop.merchant,
                UUID(bad.removeprefix("crd_")),
            )
        elif state != "pending":
            bad = f"crd_{'1' * 32}" if state == "unknown" else "crd_x"
        status = 404 if code == "card_not_found" else 402
        for param, move in (
            ("from", {"from": bad, "to": good["id"], "amount": 1}),
            ("to", {"from": good["id"], "to": bad, "amount": 1}),
        ):
            shown = problem(await post(http, "/transfers", move), status, code, param=param)
            assert state == "malformed" or f"{param} {bad}" in shown["detail"], shown
    rich = {"from": good["id"], "to": (await issue(http, shop))["id"], "amount": 101}
    shown = problem(await post(http, "/transfers", rich), 402, "insufficient_funds", param="from")
    assert shown["available"] == 100
    await balanced(http)


@pytest.mark.parametrize("amount", [0, -1, MOST + 1, 10**30, 1.0, 1.5, "1", True, None, [], {}])
@pytest.mark.parametrize("path", ["/redemptions", "/loads", "/cards", "/holds", "/transfers"])
async def test_an_amount_is_an_integer_in_range(
    http: httpx.AsyncClient, path: str, amount: Any
) -> None:
    card = f"crd_{'0' * 32}"
    bodies: dict[str, dict[str, Any]] = {
        "/loads": {"card": card},
        "/cards": {"program": f"prg_{'0' * 32}"},
        "/transfers": {"from": card, "to": f"crd_{'1' * 32}"},
    }
    body = bodies.get(path, {"card": card, "currency": "EUR"}) | {"amount": amount}
    problem(await post(http, path, body), 422, "invalid_request", param="amount")


async def test_the_largest_amount(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, MOST)
    assert (await made(http, "/loads", {"card": card["id"], "amount": MOST}))["balance"] == 2 * MOST
    assert (await redeem(http, card, MOST))["balance"] == MOST
    await balanced(http)
