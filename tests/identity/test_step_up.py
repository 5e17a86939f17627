"""Changing rights requires a recent proof of identity; keys end with their creator."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.identity.authentication import FRESH_S
from florin.identity.scopes import SCOPES
from tests.conftest import Urls
from tests.identity.test_second_factor import answer, challenge, enrolled, forget_steps
from tests.support import api_calls
from tests.support.api_calls import problem
from tests.support.members import (
    PASSWORD,
    Json,
    SignedInMember,
    address,
    audited,
    bearer,
    email_token,
    lock_waits,
    login,
    member,
    register,
)

OTHER = "another password of some length"


async def age(owner: Any, user: SignedInMember, seconds: int = FRESH_S + 1) -> None:
    """Move the member's last proof of identity into the past."""
    await owner.execute(
        "update florin.session s set proved_at = proved_at - make_interval(secs => $2)"
        " from florin.member m where m.email = $1 and s.merchant = m.merchant and s.member = m.id",
        user.email,
        seconds,
    )


async def prove(http: httpx.AsyncClient, user: SignedInMember, **more: str) -> httpx.Response:
    body = {"password": PASSWORD, **more}
    return await http.post("/auth/reauthentication", json=body, headers=user.headers)


async def make_key(http: httpx.AsyncClient, headers: dict[str, str], *scopes: str) -> Json:
    made = await http.post("/api-keys", json={"name": "k", "scopes": scopes}, headers=headers)
    assert made.status_code == 201, made.text
    found: Json = made.json()
    return found


async def works(http: httpx.AsyncClient, key: Json) -> bool:
    """Repeat the request: the cached caller may be a few seconds old."""
    path = f"/api-keys/{key['id']}"
    found = await http.delete(path, headers=bearer(key["secret"]))
    return found.status_code != 401


def actions(target: SignedInMember, key: Json) -> list[tuple[str, str, Any]]:
    """Every request that gives or removes rights."""
    return [
        ("POST", "/members", {"email": address(), "role": "owner", "password": PASSWORD}),
        ("POST", "/members", {"email": address(), "role": "viewer"}),
        ("PATCH", f"/members/{target.id}", {"role": "owner"}),
        ("POST", f"/members/{target.id}/reset-second-factor", None),
        ("PATCH", "/merchant", {"second_factor_roles": ["viewer"]}),
        ("POST", "/api-keys", {"name": "k", "scopes": ["cards:read"]}),
        ("DELETE", f"/api-keys/{key['id']}", None),
        ("DELETE", f"/members/{target.id}", None),
    ]


async def test_changing_rights_requires_a_recent_proof(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    cashier, key = (
        await member(http, boss, "cashier"),
        await make_key(http, boss.headers, "cards:read"),
    )
    await age(owner, boss)
    refreshed = await http.post(
        "/auth/refresh", json={"refresh_token": boss.tokens["refresh_token"]}
    )
    for headers in (boss.headers, bearer(refreshed.json()["access_token"])):
        for method, path, body in actions(cashier, key):
            refused = await http.request(method, path, json=body, headers=headers)
            problem(refused, 403, "reauthentication_required")
    assert (await http.get("/members", headers=boss.headers)).status_code == 200
    problem(await prove(http, boss, password="wrong"), 401, "invalid_credentials")
    proved = await prove(http, boss)
    assert (proved.status_code, proved.json()["current"]) == (200, True), proved.text
    for method, path, body in actions(cashier, key):
        done = await http.request(method, path, json=body, headers=boss.headers)
        assert done.is_success, (method, path, done.text)
    records = {each["action"] for each in await audited(http, boss)}
    assert {"reauthenticated", "proof.failed"} <= records


async def test_a_proof_counts_for_its_own_session(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    other = SignedInMember(boss.email, (await login(http, boss.email)).json())
    await age(owner, boss)
    assert (await prove(http, boss)).status_code == 200
    await make_key(http, boss.headers, "cards:read")
    body = {"name": "k", "scopes": ["cards:read"]}
    refused = await http.post("/api-keys", json=body, headers=other.headers)
    problem(refused, 403, "reauthentication_required")


async def test_a_proof_requires_the_second_factor_too(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    phone, _ = await enrolled(http, owner, boss)
    await age(owner, boss)
    problem(await prove(http, boss), 422, "invalid_request", param="code")
    problem(await prove(http, boss, code=phone.wrong()), 401, "invalid_credentials")
    policy = {"second_factor_roles": ["owner"]}
    refused = await http.patch("/merchant", json=policy, headers=boss.headers)
    problem(refused, 403, "reauthentication_required")
    assert (await prove(http, boss, code=phone.code())).status_code == 200
    assert (await http.patch("/merchant", json=policy, headers=boss.headers)).status_code == 200


async def test_no_member_resets_their_own_second_factor(
    http: httpx.AsyncClient, owner: Any
) -> None:
    boss = await register(http)
    await enrolled(http, owner, boss)
    path = f"/members/{boss.id}/reset-second-factor"
    problem(await http.post(path, headers=boss.headers), 403, "forbidden")
    problem(await login(http, boss.email), 401, "mfa_required")


async def test_a_key_with_all_scopes_is_not_a_member(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    cashier = await member(http, boss, "cashier")
    key = await make_key(http, boss.headers, *sorted(SCOPES))
    for method, path, body in actions(cashier, key):
        if not path.startswith("/api-keys"):
            answered = await http.request(method, path, json=body, headers=bearer(key["secret"]))
            problem(answered, 403, "forbidden")


async def test_turning_the_factor_off_ends_its_proof(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    phone, _ = await enrolled(http, owner, boss)
    token = await challenge(http, boss.email)
    entered = SignedInMember(boss.email, (await answer(http, token, phone.code())).json())
    await http.patch("/merchant", json={"second_factor_roles": ["owner"]}, headers=entered.headers)
    assert (await http.get("/members", headers=entered.headers)).status_code == 200
    await forget_steps(owner, boss)
    off = {"password": PASSWORD, "code": phone.code()}
    done = await http.post("/auth/totp/disable", json=off, headers=entered.headers)
    assert done.status_code == 200, done.text
    for headers in (entered.headers, boss.headers):
        problem(await http.get("/members", headers=headers), 403, "second_factor_required")
    listed = (await http.get("/sessions", headers=entered.headers)).json()["data"]
    assert {each["second_factor"] for each in listed} == {False}
    # Sessions that an earlier release left in this state are not proved either.
    await owner.execute(
        "update florin.session s set second_factor = true from florin.member m"
        " where m.email = $1 and s.merchant = m.merchant and s.member = m.id",
        boss.email,
    )
    again = {"refresh_token": entered.tokens["refresh_token"]}
    refreshed = (await http.post("/auth/refresh", json=again)).json()
    headers = bearer(refreshed["access_token"])
    problem(await http.get("/members", headers=headers), 403, "second_factor_required")


async def test_a_key_cannot_revoke_a_key_with_more_scopes(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    strong = await make_key(http, boss.headers, "keys:write", "cards:read", "cards:write")
    weak = await make_key(http, boss.headers, "keys:write", "cards:read")
    weaker = await make_key(http, boss.headers, "cards:read")
    headers = bearer(weak["secret"])
    refused = problem(
        await http.delete(f"/api-keys/{strong['id']}", headers=headers), 403, "forbidden"
    )
    assert "cards:write" in refused["detail"]
    done = await http.delete(f"/api-keys/{weaker['id']}", headers=headers)
    assert done.json()["revoked_at"] is not None
    assert (await http.delete(f"/api-keys/{weak['id']}", headers=headers)).status_code == 200
    assert await works(http, strong)


async def test_a_key_cannot_revoke_a_key_of_another_location(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    keys: list[Json] = []
    for location in ("Till 1", "Till 1", "Till 2", None):
        body = {"name": "k", "scopes": ["keys:write"], "location": location}
        keys.append((await http.post("/api-keys", json=body, headers=boss.headers)).json())
    headers = bearer(keys[0]["secret"])
    for key, status in zip(keys[1:], (200, 403, 403), strict=True):
        answered = await http.delete(f"/api-keys/{key['id']}", headers=headers)
        assert answered.status_code == status, answered.text


async def test_a_key_names_its_creator_and_ends_with_it(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    first = await make_key(http, boss.headers, "keys:write", "cards:read")
    child = await make_key(http, bearer(first["secret"]), "keys:write", "cards:read")
    grandchild = await make_key(http, bearer(child["secret"]), "cards:read")
    other = await make_key(http, boss.headers, "cards:read")
    made_by = [each["made_by"] for each in (first, child, grandchild, other)]
    assert made_by == [boss.id, first["id"], child["id"], boss.id]
    ended = await http.delete(f"/api-keys/{first['id']}", headers=boss.headers)
    assert (ended.json()["id"], ended.json()["revoked_at"] is None) == (first["id"], False)
    listed = (await http.get("/api-keys", headers=boss.headers)).json()["data"]
    assert {each["id"] for each in listed if each["revoked_at"] is None} == {other["id"]}
    records = await audited(http, boss, action="api_key.revoked")
    assert {each["subject"] for each in records} == {
        first["id"],
        child["id"],
        grandchild["id"],
    }


async def reset(http: httpx.AsyncClient, owner: Any, who: SignedInMember, **more: Any) -> None:
    await http.post("/auth/password-resets", json={"email": who.email})
    token = await email_token(owner, who.email, "password_reset")
    body = {"token": token, "password": OTHER, **more}
    done = await http.post("/auth/password-resets/confirm", json=body)
    assert done.status_code == 200, done.text


@pytest.mark.parametrize("keep", [False, True])
async def test_keys_end_when_their_creator_loses_the_right(
    http: httpx.AsyncClient, owner: Any, keep: bool
) -> None:
    """For a member whose password is reset, who is removed, or who gets a lower role."""
    boss = await register(http)
    others = [await member(http, boss, "owner") for _ in range(3)]
    theirs = [await make_key(http, each.headers, "keys:write", "cards:read") for each in others]
    theirs += [await make_key(http, bearer(key["secret"]), "cards:read") for key in theirs]
    harmless = await make_key(http, others[2].headers, "cards:read")
    mine = await make_key(http, boss.headers, "keys:write")
    more = {"keep_keys": True} if keep else {}
    await reset(http, owner, others[0], **more)
    path = f"/members/{others[1].id}"
    gone = await http.delete(path, params={"keep_keys": str(keep).lower()}, headers=boss.headers)
    assert gone.status_code == 200, gone.text
    path = f"/members/{others[2].id}"
    body = {"role": "viewer", **more}
    assert (await http.patch(path, json=body, headers=boss.headers)).status_code == 200
    listed = (await http.get("/api-keys", headers=boss.headers)).json()["data"]
    alive = {each["id"] for each in listed if each["revoked_at"] is None}
    kept = {each["id"] for each in theirs} if keep else set[str]()
    assert alive == {harmless["id"], mine["id"], *kept}
    assert [await works(http, key) for key in reversed(theirs)] == [keep] * len(theirs)


async def test_a_key_in_creation_ends_with_its_creator(
    http: httpx.AsyncClient, owner: Any, urls: Urls
) -> None:
    """The request waits after the check of its creator, while the creator is revoked."""
    boss = await register(http)
    parent = await make_key(http, boss.headers, "keys:write", "cards:read")
    async with owner.transaction():
        await owner.execute("lock table florin.idempotency in share mode")
        body = {"name": "child", "scopes": ["cards:read"]}
        making = asyncio.create_task(
            http.post("/api-keys", json=body, headers=bearer(parent["secret"]) | api_calls.key())
        )
        await _waits(urls, 1)
        ending = asyncio.create_task(http.delete(f"/api-keys/{parent['id']}", headers=boss.headers))
        await _waits(urls, 2)
    made, ended = await making, await ending
    assert (made.status_code, ended.status_code) == (201, 200)
    listed = (await http.get("/api-keys", headers=boss.headers)).json()["data"]
    assert all(each["revoked_at"] is not None for each in listed), listed


async def _waits(urls: Urls, statements: int) -> None:
    async with asyncio.timeout(60):
        while await lock_waits(urls.superuser) < statements:  # noqa: ASYNC110 -- in PostgreSQL
            await asyncio.sleep(0.05)
