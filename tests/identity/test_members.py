"""Members over HTTP: roles, invitations, the last owner and the audit log."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import httpx
import pytest

from florin.identity import members, second_factor
from florin.identity.audit_log import AuditActor
from florin.identity.members import Role
from florin.identity.scopes import ROLES, SCOPES
from florin.kit.errors import Forbidden
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import problem, together
from tests.support.members import (
    PASSWORD,
    SignedInMember,
    address,
    audited,
    bearer,
    email_token,
    lock_waits,
    login,
    member,
    register,
    services,
    uuid_of,
)


async def key_of(
    http: httpx.AsyncClient, by: SignedInMember, *scopes: str, **more: Any
) -> httpx.Response:
    body = {"name": "k", "scopes": list(scopes), **more}
    return await http.post("/api-keys", json=body, headers=by.headers)


async def test_an_invitation_is_accepted_once(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    email = address("invited")
    made = await http.post(
        "/members", json={"email": email, "role": "manager"}, headers=boss.headers
    )
    assert made.json()["state"] == "invited"
    problem(await login(http, email, ""), 401, "invalid_credentials")
    token = await email_token(owner, email, "invitation")
    body = {"token": token, "password": PASSWORD}
    problem(
        await http.post("/auth/invitations/accept", json={**body, "token": f"{token}x"}),
        422,
        "token_invalid",
    )
    answers = await together(http.post("/auth/invitations/accept", json=body) for _ in range(5))
    assert Counter(each.status_code for each in answers) == {200: 1, 422: 4}
    user = next(each.json() for each in answers if each.status_code == 200)
    assert (user["state"], user["email_verified"]) == ("active", True)
    assert (await login(http, email)).status_code == 200
    assert await email_token(owner, email, "invitation") is None  # the sealed copy is gone
    problem(
        await http.post("/members", json={"email": email, "role": "viewer"}, headers=boss.headers),
        422,
        "email_taken",
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\x7f"])
async def test_an_address_with_a_line_break_is_refused(http: httpx.AsyncClient, end: str) -> None:
    """It would be a second account for the same address, and could inject an e-mail header."""
    boss = await register(http)
    merchant = {"name": "Shop", "country": "NL", "currency": "EUR"}
    for path, body, headers in (
        ("/auth/register", {"password": PASSWORD, "merchant": merchant}, {}),
        ("/members", {"role": "viewer", "password": PASSWORD}, boss.headers),
        ("/auth/password-resets", {}, {}),
        ("/auth/email-verifications", {}, {}),
    ):
        answer = await http.post(
            path, json={"email": f"{boss.email}{end}", **body}, headers=headers
        )
        problem(answer, 422, "invalid_request", param="email")


async def test_members_are_listed_and_found(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    cashier = await member(http, boss, "cashier")
    listed = (await http.get("/members", headers=boss.headers)).json()
    assert [each["id"] for each in listed["data"]] == [cashier.id, boss.id]
    page = (await http.get("/members", params={"limit": 1}, headers=boss.headers)).json()
    assert page["has_more"] is True
    rest = await http.get(
        "/members", params={"starting_after": page["data"][0]["id"]}, headers=boss.headers
    )
    assert [each["id"] for each in rest.json()["data"]] == [boss.id]
    found = await http.get(f"/members/{cashier.id}", headers=boss.headers)
    assert found.json() == listed["data"][0]
    stranger = await register(http)
    for method in ("GET", "DELETE"):
        answer = await http.request(method, f"/members/{cashier.id}", headers=stranger.headers)
        problem(answer, 404, "not_found")
    answer = await http.patch(
        f"/members/{cashier.id}", json={"role": "owner"}, headers=stranger.headers
    )
    problem(answer, 404, "not_found")


@pytest.mark.parametrize("role", ["manager", "cashier", "viewer"])
async def test_only_an_owner_creates_members(http: httpx.AsyncClient, role: str) -> None:
    boss = await register(http)
    caller = await member(http, boss, role)
    body = {"email": address(), "role": "owner", "password": PASSWORD}
    problem(await http.post("/members", json=body, headers=caller.headers), 403, "forbidden")
    for target in (caller, boss):
        for change in ("owner", "viewer"):
            answer = await http.patch(
                f"/members/{target.id}", json={"role": change}, headers=caller.headers
            )
            problem(answer, 403, "forbidden")
        answer = await http.delete(f"/members/{target.id}", headers=caller.headers)
        problem(answer, 403, "forbidden")


@pytest.mark.parametrize("role", ["owner", "manager", "viewer"])
async def test_no_caller_gives_a_role_above_its_own_scopes(
    http: httpx.AsyncClient, database: Database, role: Role
) -> None:
    """A caller with members:write cannot give a member scopes that the caller lacks."""
    boss = await register(http)
    cashier = await member(http, boss, "cashier")
    by = AuditActor(merchant=uuid_of("mer", boss.tokens["merchant"]["id"]), actor="tests")
    allowed = ROLES["cashier"] | {"members:write"}
    want = members.MemberRequest(email=address(), role=role)
    with pytest.raises(Forbidden, match=role):
        await members.create_member(services(database), by, want, allowed=allowed)
    raised, lowered = members.MemberChange(role=role), members.MemberChange(role="cashier")
    with pytest.raises(Forbidden, match=role):
        await members.change_member(database, by, cashier.id, raised, allowed=allowed)
    with pytest.raises(Forbidden, match="owner"):
        await members.change_member(database, by, boss.id, lowered, allowed=allowed)
    with pytest.raises(Forbidden, match="owner"):
        await members.remove_member(database, by, boss.id, allowed=allowed)
    with pytest.raises(Forbidden, match="owner"):
        await second_factor.reset_factor(database, by, boss.id, allowed=allowed)


@pytest.mark.parametrize("scope", sorted(SCOPES))
async def test_a_key_makes_no_key_with_more_scopes(http: httpx.AsyncClient, scope: str) -> None:
    boss = await register(http)
    made = await key_of(http, boss, "keys:write", "cards:read", location="Till 1")
    headers = bearer(made.json()["secret"])
    body: dict[str, Any] = {"name": "child", "scopes": [scope], "location": "Till 1"}
    answer = await http.post("/api-keys", json=body, headers=headers)
    if scope in {"keys:write", "cards:read"}:
        assert answer.status_code == 201
        for location in (None, "Till 2"):  # nor a key for another location
            body["location"] = location
            problem(await http.post("/api-keys", json=body, headers=headers), 403, "forbidden")
    else:
        problem(answer, 403, "forbidden")


async def test_there_is_always_an_owner(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    problem(await http.delete(f"/members/{boss.id}", headers=boss.headers), 422, "last_owner")
    invited = {"email": address(), "role": "owner"}
    assert (await http.post("/members", json=invited, headers=boss.headers)).status_code == 201
    # An invited owner without a password cannot be the only owner.
    problem(
        await http.patch(f"/members/{boss.id}", json={"role": "viewer"}, headers=boss.headers),
        422,
        "last_owner",
    )
    for _ in range(5):
        other = await member(http, boss, "owner")
        answers = await together(
            call
            for one, another in ((boss, other), (other, boss)) * 4
            for call in (
                http.delete(f"/members/{another.id}", headers=one.headers),
                http.patch(f"/members/{another.id}", json={"role": "viewer"}, headers=one.headers),
            )
        )
        assert {each.status_code for each in answers} <= {200, 401, 403, 404, 422}
        left = await owner.fetchval(
            "select count(*) from florin.member where merchant = $1 and role = 'owner'"
            " and password_hash is not null",
            uuid_of("mer", boss.tokens["merchant"]["id"]),
        )
        assert left >= 1
        boss = await register(http)


async def test_every_administrative_action_is_audited(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    cashier = await member(http, boss, "cashier")
    request = {"x-request-id": "req-promote", **boss.headers}
    await http.patch(f"/members/{cashier.id}", json={"role": "viewer"}, headers=request)
    removed = await http.delete(f"/members/{cashier.id}", headers=boss.headers)
    assert (removed.json()["id"], removed.json()["state"]) == (cashier.id, "removed")
    key = (await key_of(http, boss, "cards:read", location="Till 1")).json()
    await http.delete(f"/api-keys/{key['id']}", headers=boss.headers)
    await http.delete(f"/api-keys/{key['id']}", headers=boss.headers)  # already revoked: no record
    program = (
        await http.post(
            "/programs",
            json={"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5},
            headers=boss.headers,
        )
    ).json()
    await http.patch(f"/programs/{program['id']}", json={"max_amount": 9}, headers=boss.headers)
    await http.patch("/merchant", json={"second_factor_roles": ["manager"]}, headers=boss.headers)
    await login(http, boss.email, "wrong")
    records = await audited(http, boss)
    assert [(each["action"], each["actor"], each["subject"]) for each in records] == [
        ("login.failed", "anonymous", boss.id),
        ("merchant.changed", boss.id, boss.tokens["merchant"]["id"]),
        ("program.changed", boss.id, program["id"]),
        ("program.created", boss.id, program["id"]),
        ("api_key.revoked", boss.id, key["id"]),
        ("api_key.created", boss.id, key["id"]),
        ("member.removed", boss.id, cashier.id),
        ("member.changed", boss.id, cashier.id),
        ("login.succeeded", cashier.id, cashier.id),
        ("member.created", boss.id, cashier.id),
        ("merchant.registered", boss.id, boss.tokens["merchant"]["id"]),
    ]
    by_action = {each["action"]: each for each in records}
    promoted = by_action["member.changed"]
    assert (promoted["before"], promoted["after"]) == ({"role": "cashier"}, {"role": "viewer"})
    assert promoted["request_id"] == "req-promote"
    widened = by_action["program.changed"]
    assert (widened["before"], widened["after"]) == ({"max_amount": 5}, {"max_amount": 9})
    assert await audited(http, boss, action="member.changed") == [promoted]
    assert await audited(http, boss, subject=key["id"]) == [
        by_action["api_key.revoked"],
        by_action["api_key.created"],
    ]
    assert await audited(http, boss, actor=cashier.id) == [by_action["login.succeeded"]]
    one = await http.get(f"/audit/{promoted['id']}", headers=boss.headers)
    assert one.json() == promoted
    text = str(records)
    assert key["secret"] not in text
    assert PASSWORD not in text


async def test_owners_and_managers_read_the_audit_log(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    for role, status in (("manager", 200), ("cashier", 403), ("viewer", 403)):
        caller = await member(http, boss, role)
        answer = await http.get("/audit", headers=caller.headers)
        assert answer.status_code == status, role
    stranger = await register(http)
    record = (await audited(http, boss))[0]
    answer = await http.get(f"/audit/{record['id']}", headers=stranger.headers)
    problem(answer, 404, "not_found")
    assert {each["action"] for each in await audited(http, stranger)} == {"merchant.registered"}


@pytest.mark.parametrize(
    "change",
    [
        "update florin.audit set actor = 'anonymous'",
        "delete from florin.audit",
        "truncate florin.audit",
    ],
)
async def test_the_audit_is_append_only(
    http: httpx.AsyncClient, owner: Any, app: Any, change: str
) -> None:
    await register(http)
    for connection in (app, owner):  # by privilege, and for the owner by trigger
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)


async def test_of_two_owners_who_remove_each_other_one_stays(
    http: httpx.AsyncClient, owner: Any, urls: Urls
) -> None:
    """Both requests wait right before their commit, after each has found another owner."""
    one = await register(http)
    other = await member(http, one, "owner")
    async with owner.transaction():
        await owner.execute("lock table florin.audit in share mode")
        calls = [
            asyncio.create_task(http.delete(f"/members/{target.id}", headers=by.headers))
            for target, by in ((other, one), (one, other))
        ]
        async with asyncio.timeout(60):
            while await lock_waits(urls.superuser) < len(calls):  # noqa: ASYNC110 -- it happens in PostgreSQL
                await asyncio.sleep(0.05)
    answers = await asyncio.gather(*calls)
    assert Counter(each.status_code for each in answers)[200] == 1
