"""Replaced codes and PINs: a repetition shows the secret of its own request, or none."""

import re
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, balanced, issue, made, post, redeem
from tests.support.instance import Shop

WAYS = ["rotate-code", "reset-pin"]


def secret_of(way: str, card: Json) -> Any:
    return card["code"] if way == "rotate-code" else card.get("pin")


@pytest.mark.parametrize("later", WAYS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_repetition_shows_its_own_secret_or_none(
    http: httpx.AsyncClient, shop: Shop, way: str, later: str
) -> None:
    card = await issue(http, shop, 100, pin=True)
    path = f"/cards/{card['id']}"
    first = await post(http, f"{path}/{way}", under=f"first {way} {later}")
    again = await post(http, f"{path}/{way}", under=f"first {way} {later}")
    assert again.json() == first.json()
    assert secret_of(way, first.json()) is not None
    second = await post(http, f"{path}/{later}", under=f"second {way} {later}")
    replay = await post(http, f"{path}/{way}", under=f"first {way} {later}")
    assert (replay.status_code, replay.headers["idempotency-replayed"]) == (200, "true")
    assert secret_of(way, replay.json()) is None
    assert secret_of(later, second.json()) not in replay.text
    hidden = {"code": None} if way == "rotate-code" else {}
    shown = {name: value for name, value in first.json().items() if name != "pin"}
    assert replay.json() == shown | hidden
    assert (await post(http, f"{path}/{later}", under=f"second {way} {later}")).json() == (
        second.json()
    )


async def test_a_repetition_shows_the_card_as_it_was(http: httpx.AsyncClient, shop: Shop) -> None:
    body = {"program": shop.program, "amount": 100}
    sold = await post(http, "/cards", body, under="sold before")
    card: Json = sold.json()
    path = f"/cards/{card['id']}"
    rotated = await post(http, f"{path}/rotate-code", under="rotated then")
    await redeem(http, card, 30)
    await made(http, f"{path}/block", status=200)
    again = await post(http, f"{path}/rotate-code", under="rotated then")
    assert again.json() == rotated.json()
    assert (again.json()["balance"], again.json()["state"]) == (100, "active")
    late = await post(http, "/cards", body, under="sold before")
    assert late.json() == card | {"code": None}, "also the last four of the code it had"
    await balanced(http)


async def test_a_stored_answer_reveals_no_secret(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await issue(http, shop, 100, pin=True)
    rotated = await post(http, f"/cards/{card['id']}/rotate-code", under="kept")
    reset = await post(http, f"/cards/{card['id']}/reset-pin", under="kept too")
    rows = await owner.fetch(
        "select answer::text from florin.idempotency where merchant = $1 and key like 'kept%'",
        shop.merchant,
    )
    recorded = "\n".join(row["answer"] for row in rows)
    assert len(rows) == 2
    assert rotated.json()["code"].replace("-", "") not in recorded
    assert not re.search(rf"(?<![0-9a-f]){reset.json()['pin']}(?![0-9a-f])", recorded)
