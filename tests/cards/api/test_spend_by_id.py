"""Spending by card id needs a scope of its own: a cashier needs the code and the PIN."""

import uuid
from typing import Any

import httpx
import pytest

from florin.identity.scopes import ROLES, SCOPES
from florin.kit.postgres.database import Database
from tests.support.api_calls import Json, issue, made, post, problem
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import SignedInMember, bearer, client_of, member, register

BY_ID = "cards:spend-by-id"


async def spend_each_way(
    http: httpx.AsyncClient, headers: dict[str, str], named: Json
) -> list[tuple[int, str | None]]:
    """Status and code of a redemption, a simulation, a hold and a batch for one card."""
    body = {**named, "amount": 1, "currency": "EUR"}
    answers: list[Json] = []
    for path, more in (("/redemptions", {}), ("/redemptions", {"simulate": True}), ("/holds", {})):
        keyed = headers | {"Idempotency-Key": uuid.uuid4().hex}
        answer = await http.post(path, json=body | more, headers=keyed)
        answers.append({"status": answer.status_code, **answer.json()})
    item = body | {"idempotency_key": uuid.uuid4().hex}
    batch = await http.post("/redemptions/batch", json={"redemptions": [item]}, headers=headers)
    whole: Json = {"status": batch.status_code, "problem": batch.json()}
    line: Json = batch.json()["data"][0] if batch.status_code == 200 else whole
    answers.append({"status": line["status"], "code": line.get("problem", {}).get("code")})
    return [(each["status"], each.get("code")) for each in answers]


async def program_of(http: httpx.AsyncClient, boss: SignedInMember) -> Shop:
    body = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 10**6}
    answer = await http.post("/programs", json=body, headers=boss.headers)
    assert answer.status_code == 201, answer.text
    return Shop(uuid.UUID(int=0), answer.json()["id"], "")


DONE = [(201, None), (200, None), (201, None), (201, None)]
FORBIDDEN = [(403, "forbidden")] * 4


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_only_roles_with_the_scope_spend_a_card_by_its_id(api: Instance, role: str) -> None:
    async with client_of(api) as http:
        boss = await register(http)
        shop = await program_of(http, boss)
        user = boss if role == "owner" else await member(http, boss, role)
        async with client_of(api, **boss.headers) as office:
            card = await issue(office, shop, 1000)
            guarded = await issue(office, shop, 1000, pin=True)
        by_id, by_code = {"card": card["id"]}, {"code": card["code"]}
        may = role in {"owner", "manager"}
        spends = may or role == "cashier"
        assert await spend_each_way(http, user.headers, by_id) == (DONE if may else FORBIDDEN)
        done = DONE if spends else FORBIDDEN
        if role != "viewer":
            assert await spend_each_way(http, user.headers, by_code) == done
        if role == "cashier":
            without = {"code": guarded["code"]}
            required = [(402, "pin_required")] * 4
            assert await spend_each_way(http, user.headers, without) == required
            with_pin = without | {"pin": guarded["pin"]}
            assert await spend_each_way(http, user.headers, with_pin) == DONE


async def test_a_key_names_the_scope(api: Instance, owner: Any, database: Database) -> None:
    for scopes, wanted in ((SCOPES, DONE), (SCOPES - {BY_ID}, FORBIDDEN)):
        shop = await make_shop(owner, database, scopes=scopes)
        async with client_of(api, **shop.headers) as http:
            card = await issue(http, shop, 1000)
            assert await spend_each_way(http, shop.headers, {"card": card["id"]}) == wanted
            assert await spend_each_way(http, shop.headers, {"code": card["code"]}) == DONE
            # Captures and refunds name a hold or a redemption: they need no such scope.
            body = {"code": card["code"], "amount": 1, "currency": "EUR"}
            hold = await made(http, "/holds", body)
            captured = await made(http, f"/holds/{hold['id']}/capture", status=200)
            await made(http, "/refunds", {"redemption": captured["redemption"]})


async def test_a_role_grants_the_scope_only_if_it_has_it(api: Instance) -> None:
    async with client_of(api) as http:
        boss = await register(http)
        made_key = await http.post(
            "/api-keys",
            json={"name": "k", "scopes": ["keys:write", "redemptions:write"]},
            headers=boss.headers,
        )
        async with client_of(api, **bearer(made_key.json()["secret"])) as till:
            answer = await post(till, "/api-keys", {"name": "k", "scopes": [BY_ID]})
            problem(answer, 403, "forbidden")
