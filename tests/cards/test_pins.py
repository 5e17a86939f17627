"""PINs: required when spending by code; five wrong attempts, counted exactly."""

import asyncio
import collections
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.support.api_calls import (
    Json,
    balanced,
    issue,
    key,
    made,
    post,
    problem,
    read,
    redeem,
    spend,
    together,
)
from tests.support.instance import SECRETS, Shop, instance

TRIES = 5
RULES = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 10_000}
WAYS = ["redeem", "simulate", "batch", "hold"]


def by_code(card: Json, pin: str | None, amount: int = 1, **more: Any) -> Json:
    given = {} if pin is None else {"pin": pin}
    return {"code": card["code"], "amount": amount, "currency": "EUR", **given, **more}


def wrong(card: Json, by: int = 1) -> str:
    return f"{(int(card['pin']) + by) % 1_000_000:06}"


async def attempt(
    http: httpx.AsyncClient, way: str, card: Json, pin: str | None, **more: Any
) -> Json:
    """Try a PIN; return the refusal or the response."""
    body = by_code(card, pin, **more)
    if way == "batch":
        item = body | {"idempotency_key": key()["Idempotency-Key"]}
        answer = await http.post("/redemptions/batch", json={"redemptions": [item]})
        (line,) = answer.json()["data"]
        found: Json = line.get("problem") or line["redemption"]
        return found
    if way == "simulate":
        body["simulate"] = True
    path = "/holds" if way == "hold" else "/redemptions"
    return (await http.post(path, json=body, headers=key())).json()


@pytest.mark.parametrize("way", WAYS)
async def test_spending_by_code_needs_the_pin(
    http: httpx.AsyncClient, shop: Shop, way: str
) -> None:
    card = await issue(http, shop, 100, pin=True)
    assert len(card["pin"]) == 6
    assert card["pin"].isdecimal()
    missing = await attempt(http, way, card, None)
    assert (missing["status"], missing["code"]) == (402, "pin_required")
    for left in (4, 3, 2, 1):
        refused = await attempt(http, way, card, wrong(card, left))
        assert (refused["status"], refused["code"]) == (402, "pin_incorrect")
        assert refused["attempts_left"] == left
    assert (await read(http, f"/cards/{card['id']}"))["available"] == 100
    # A correct PIN resets the attempts, even if the redemption is refused.
    poor = await attempt(http, way, card, card["pin"], amount=101)
    assert poor["code"] == "insufficient_funds"
    assert (await attempt(http, way, card, wrong(card)))["attempts_left"] == 4
    assert (await attempt(http, way, card, card["pin"]))["amount"] == 1
    for left in (4, 3, 2, 1, 0):
        refused = await attempt(http, way, card, wrong(card, left + 1))
        assert refused["attempts_left"] == left
    for pin in (card["pin"], wrong(card), None):
        locked = await attempt(http, way, card, pin)
        assert (locked["status"], locked["code"]) == (402, "pin_locked")
        assert "attempts_left" not in locked
    await balanced(http)


async def test_a_wrong_pin_reveals_nothing_else(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, pin=True)
    await post(http, f"/cards/{card['id']}/block")
    refused = await post(http, "/redemptions", by_code(card, wrong(card), amount=500))
    problem(refused, 402, "pin_incorrect")
    refused = await post(
        http, "/redemptions", by_code(card, wrong(card), amount=500, currency="USD")
    )
    assert problem(refused, 402, "pin_incorrect")["attempts_left"] == 3
    problem(await post(http, "/redemptions", by_code(card, card["pin"])), 402, "card_blocked")


async def test_only_five_of_fifty_concurrent_pins_are_tried(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await issue(http, shop, 100, pin=True)
    answers = await asyncio.gather(
        *(attempt(http, WAYS[n % 4], card, wrong(card, n + 1)) for n in range(50))
    )
    said = collections.Counter(answer["code"] for answer in answers)
    assert said == {"pin_incorrect": TRIES, "pin_locked": 50 - TRIES}
    left = [answer["attempts_left"] for answer in answers if answer["code"] == "pin_incorrect"]
    assert sorted(left) == [0, 1, 2, 3, 4]
    assert (await attempt(http, "redeem", card, card["pin"]))["code"] == "pin_locked"


async def test_a_batch_counts_its_items_one_by_one(http: httpx.AsyncClient, shop: Shop) -> None:
    card, plain = await issue(http, shop, 100, pin=True), await issue(http, shop, 100)
    pins = [wrong(card, 1), card["pin"], *(wrong(card, n) for n in range(1, 7)), card["pin"]]
    items = [by_code(card, pin, idempotency_key=f"i{n}") for n, pin in enumerate(pins)]
    items.append(by_code(plain, None, idempotency_key="plain"))
    answer = await http.post("/redemptions/batch", json={"redemptions": items})
    data = answer.json()["data"]
    found = [
        line["problem"].get("attempts_left", line["problem"]["code"])
        if "problem" in line
        else line["status"]
        for line in data
    ]
    assert found == [4, 201, 4, 3, 2, 1, 0, "pin_locked", "pin_locked", 201]


async def test_a_request_that_is_repeated_counts_once(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, pin=True)
    body = by_code(card, wrong(card))
    again = await together(post(http, "/redemptions", body, under="same") for _ in range(10))
    for answer in again:
        assert problem(answer, 402, "pin_incorrect")["attempts_left"] == 4
    other = await post(http, "/redemptions", by_code(card, wrong(card, 2)), under="same")
    assert problem(other, 402, "pin_incorrect")["attempts_left"] == 3
    # A refusal does not use up its key; a success is replayed and happened once.
    right = by_code(card, card["pin"])
    first = await post(http, "/redemptions", right, under="same")
    assert first.status_code == 201
    for pin in (
        card["pin"],
        wrong(card),
        None,
    ):  # a repeated key does not reveal whether a PIN is right
        replay = await post(http, "/redemptions", by_code(card, pin), under="same")
        assert (replay.status_code, replay.json()) == (201, first.json())
        assert replay.headers["idempotency-replayed"] == "true"
    refused = await attempt(http, "redeem", card, wrong(card))
    assert refused["attempts_left"] == 4
    assert (await read(http, f"/cards/{card['id']}"))["available"] == 99


async def test_a_new_pin_unlocks(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, pin=True)
    for n in range(TRIES):
        await attempt(http, "redeem", card, wrong(card, n + 1))
    path = f"/cards/{card['id']}/reset-pin"
    first = await post(http, path, under="anew")
    fresh: Json = first.json() | {"code": card["code"]}
    assert first.status_code == 200
    assert first.json()["code"] is None
    again = await post(http, path, under="anew")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert (await attempt(http, "redeem", fresh, fresh["pin"]))["amount"] == 1
    if card["pin"] != fresh["pin"]:
        assert (await attempt(http, "redeem", card, card["pin"]))["attempts_left"] == 4
    assert "pin" not in await read(http, f"/cards/{card['id']}")
    events = (await read(http, "/events", card=card["id"]))["data"]
    reset = [each for each in events if each["type"] == "card.pin_reset"]
    assert len(reset) == 1
    assert "pin" not in reset[0]["data"]["object"]
    # A new code does not change the PIN or its attempts.
    rotated = await made(http, f"/cards/{card['id']}/rotate-code", status=200)
    assert "pin" not in rotated
    assert (await attempt(http, "redeem", rotated, None))["code"] == "pin_required"
    assert (await attempt(http, "redeem", rotated, fresh["pin"]))["amount"] == 1


async def test_the_program_or_the_request_decides_whether_a_card_has_a_pin(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    program = await made(http, "/programs", RULES | {"pin": True})
    assert program["pin"] is True
    assert (await read(http, f"/programs/{shop.program}"))["pin"] is False
    asked = {"program": program["id"], "amount": 100}
    first = await post(http, "/cards", asked, under="one")
    again = await post(http, "/cards", asked, under="one")
    card: Json = first.json()
    assert again.json() == card
    assert (await attempt(http, "redeem", card, None))["code"] == "pin_required"
    assert (await attempt(http, "redeem", card, card["pin"]))["amount"] == 1
    for without in (
        await made(http, "/cards", asked | {"pin": False}),
        await issue(http, shop, 100),
    ):
        assert "pin" not in without
        for pin in (None, "000000", *(f"{n:06}" for n in range(TRIES))):
            assert (await attempt(http, "redeem", without, pin))["amount"] == 1
    given = await issue(http, shop, 100)
    pin = (await made(http, f"/cards/{given['id']}/reset-pin", status=200))["pin"]
    assert (await attempt(http, "redeem", given, None))["code"] == "pin_required"
    assert (await attempt(http, "redeem", given, pin))["amount"] == 1


async def test_operations_that_need_no_pin(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop, 100, pin=True)
    assert (await redeem(http, card, 1))["balance"] == 99
    found = await http.post("/cards/lookup", json={"code": card["code"]})
    assert found.json()["balance"] == 99
    for n in range(TRIES):
        await attempt(http, "redeem", card, wrong(card, n + 1))
    hold = await made(http, "/holds", spend(card, 5))
    await made(http, f"/holds/{hold['id']}/capture", status=200)
    await made(http, "/loads", {"card": card["id"], "amount": 1})
    answer = await post(http, "/redemptions", spend(card, 1, pin=card["pin"]))
    problem(answer, 422, "invalid_request", param="pin")
    for malformed in ("12345", "1234567", "12345a", "123\u00bd56", "\n", ""):
        answer = await post(http, "/redemptions", by_code(card, malformed))
        problem(answer, 422, "invalid_request")
        assert not malformed or malformed not in answer.text


@pytest.mark.parametrize("way", WAYS)
async def test_a_pasted_pin_is_accepted(http: httpx.AsyncClient, shop: Shop, way: str) -> None:
    card = await issue(http, shop, 100, pin=True)
    pin: str = card["pin"]
    wide = pin.translate({ord(str(n)): 0xFF10 + n for n in range(10)})
    for typed in (
        f"{pin}\n", f"{pin}\r\n", f"\t{pin}", f"{pin[:3]} {pin[3:]}", f"\ufeff{pin}\u200b",
        f"{pin[:3]}\u2011{pin[3:]}", wide, f"{pin}\u00a0",
    ):  # fmt: skip
        assert (await attempt(http, way, card, typed)).get("amount") == 1, ascii(typed)
    for typed in (f"{pin}0", pin[:5], f"{pin[:5]}x", "\n", " " * 32):
        refused = await attempt(http, way, card, typed)
        assert (refused["status"], refused["param"]) == (422, "pin"), ascii(typed)
    assert (await attempt(http, way, card, wrong(card)))["attempts_left"] == 4, "none was counted"


async def test_only_a_keyed_hash_of_a_pin_is_stored(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await issue(http, shop, 100, pin=True)
    await attempt(http, "redeem", card, wrong(card))
    row = await owner.fetchrow(
        "select a.*, c.sealed_code from florin.account a join florin.card c using (merchant, id)"
        " where a.merchant = $1 and c.last4 = $2",
        shop.merchant,
        card["last4"],
    )
    assert (len(row["pin_hash"]), len(row["pin_failed"])) == (32, 16)
    assert not any(
        card["pin"].encode() in value for value in row.values() if isinstance(value, bytes)
    )


async def test_pins_work_while_the_secret_is_rotated(
    http: httpx.AsyncClient, shop: Shop, urls: Urls
) -> None:
    old = await issue(http, shop, 100, pin=True)
    mixed = await issue(http, shop, 100, pin=True)
    secrets = {
        "FLORIN_CODE_PEPPER": "pepper-of-tomorrow-" + "x" * 32,
        "FLORIN_CODE_PEPPER_PREVIOUS": SECRETS["FLORIN_CODE_PEPPER"],
    }
    with instance(f"{urls.app}?connection_limit=5", **secrets) as changed:
        base = f"{changed.base}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=30) as then:
            # The code is keyed by the previous secret, the PIN by the current one.
            pin = (await made(then, f"/cards/{mixed['id']}/reset-pin", status=200))["pin"]
            mixed["pin"] = pin
            for card in (old, mixed, await issue(then, shop, 100, pin=True)):
                assert (await attempt(then, "redeem", card, None))["code"] == "pin_required"
                for left in (4, 3):
                    refused = await attempt(then, "redeem", card, wrong(card))
                    assert refused["attempts_left"] == left
                assert (await attempt(then, "redeem", card, card["pin"]))["amount"] == 1
