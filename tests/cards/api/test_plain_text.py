"""Plain text over HTTP: control characters are refused, and names are kept and found in one
spelling.
"""

from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, issue, made, post, problem, read, spend
from tests.support.instance import Instance, Shop

NFD, NFC = "Zoe\u0308", "Zo\u00eb"


@pytest.mark.parametrize("character", ["\n", "\r\n", "\t", "\x1b", "\u2028"])
async def test_control_characters_are_refused_in_every_text(
    http: httpx.AsyncClient, shop: Shop, character: str
) -> None:
    card = await issue(http, shop)
    wrong = f"text{character}"
    adjustment = {"card": card["id"], "amount": 1}
    limits = {"currency": "EUR", "min_amount": 1, "max_amount": 5}
    program = {"program": shop.program, "amount": 100}
    for path, body, param in (
        ("/cards", program | {"recipient": {"name": wrong}}, "recipient.name"),
        ("/cards", program | {"recipient": {"email": f"a@b.nl{character}"}}, "recipient.email"),
        ("/cards", program | {"metadata": {wrong: "x"}}, f"metadata[{wrong}]"),
        ("/redemptions", spend(card, 1, reference=wrong), "reference"),
        ("/redemptions", spend(card, 1, location=wrong), "location"),
        ("/holds", spend(card, 1, location=wrong), "location"),
        ("/adjustments", adjustment | {"reason": wrong}, "reason"),
        ("/programs", limits | {"name": wrong}, "name"),
        ("/api-keys", {"name": wrong, "scopes": ["cards:read"]}, "name"),
        ("/api-keys", {"name": "k", "location": wrong, "scopes": ["cards:read"]}, "location"),
    ):
        answer = await post(http, path, body)
        found: Json = problem(answer, 422, "invalid_request")
        assert found["param"] == param, (path, found)
        assert "control characters" in found["detail"], found


async def test_names_are_kept_and_found_in_one_spelling(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """An honest retry in another spelling of the same text is the same request."""
    body = {"program": shop.program, "amount": 100}
    bodies = [
        body | {"recipient": {"name": name, "email": f"{email}@shop.nl"}}
        for name, email in ((f" {NFD} ", NFD), (NFC, NFC))
    ]
    first, again = [await post(http, "/cards", each, under="spelling") for each in bodies]
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    for recipient in (NFC, f" {NFD}", f"{NFD}@shop.nl", f"{NFC}@SHOP.nl"):
        (found,) = (await read(http, "/cards", recipient=recipient))["data"]
        assert found["recipient"] == {"name": NFC, "email": f"{NFC}@shop.nl"}


async def test_a_location_is_one_in_every_spelling(
    http: httpx.AsyncClient, api: Instance, shop: Shop
) -> None:
    card: Any = await issue(http, shop)
    wanted = {"name": "till", "location": f"{NFD} ", "scopes": ["redemptions:write", "cards:read"]}
    bound = await made(http, "/api-keys", wanted)
    assert bound["location"] == NFC
    headers = {"authorization": f"Bearer {bound['secret']}", "idempotency-key": "at"}
    body = {"code": card["code"], "amount": 1, "currency": "EUR", "location": NFD}
    done = await http.post("/redemptions", json=body, headers=headers)
    assert done.status_code == 201, done.text
    for location in (NFC, f" {NFD}"):
        found = (await read(http, "/redemptions", location=location))["data"]
        assert [each["id"] for each in found] == [done.json()["id"]]
    del api
