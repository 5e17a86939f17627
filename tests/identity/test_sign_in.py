"""Signing in and out over HTTP: responses, ended sessions, and what a response may reveal."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.support.api_calls import problem, together
from tests.support.instance import Instance, instance
from tests.support.members import (
    PASSWORD,
    SignedInMember,
    address,
    audited,
    bearer,
    client_of,
    email_token,
    login,
    member,
    register,
)


@pytest.fixture(scope="module")
def second(urls: Urls) -> Iterator[Instance]:
    """Another instance on the same database."""
    with instance(f"{urls.app}?connection_limit=10&pool_timeout=20") as running:
        yield running


@pytest.fixture
async def other(second: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(second) as client:
        yield client


async def refresh(http: httpx.AsyncClient, token: str, **headers: str) -> httpx.Response:
    return await http.post("/auth/refresh", json={"refresh_token": token}, headers=headers)


async def refused_within_5_s(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    began = time.monotonic()
    while (answer := await http.get("/auth/me", headers=headers)).status_code == 200:
        assert time.monotonic() - began < 5 + 30, "still accepted"  # a busy machine answers late
        await asyncio.sleep(0.1)
    problem(answer, 401, "unauthenticated")


async def test_register_sign_in_send_a_request_and_sign_out(http: httpx.AsyncClient) -> None:
    owner = await register(http)
    assert owner.tokens["token_type"] == "Bearer"
    assert owner.tokens["expires_in"] == 900
    answer = await login(http, owner.email.upper())  # addresses are read without regard to case
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert "florin-consistency" in answer.headers
    me = await http.get("/auth/me", headers=bearer(answer.json()["access_token"]))
    assert me.status_code == 200, me.text
    assert me.json()["user"]["email"] == owner.email
    assert me.json()["user"]["role"] == "owner"
    out = await http.post("/auth/logout", headers=bearer(answer.json()["access_token"]))
    assert out.status_code == 200, out.text
    gone = await http.get("/auth/me", headers=bearer(answer.json()["access_token"]))
    problem(gone, 401, "unauthenticated")
    problem(await refresh(http, answer.json()["refresh_token"]), 401, "unauthenticated")
    still = await http.get("/auth/me", headers=owner.headers)  # another sign-in
    assert still.status_code == 200


async def test_signing_out_can_end_another_session(http: httpx.AsyncClient) -> None:
    owner, stranger = await register(http), await register(http)
    one, other, third = [(await login(http, owner.email)).json() for _ in range(3)]
    for body in ({"refresh_token": 5}, {"token": "x"}):
        answer = await http.post("/auth/logout", json=body, headers=owner.headers)
        problem(answer, 422, "invalid_request", param=next(iter(body)))
    for body, headers in (
        ({"refresh_token": other["refresh_token"]}, bearer(one["access_token"])),
        ({"refresh_token": stranger.tokens["refresh_token"]}, bearer(third["access_token"])),
    ):
        out = await http.post("/auth/logout", json=body, headers=headers)
        assert out.status_code == 200, out.text
        gone = await http.get("/auth/me", headers=headers)
        problem(gone, 401, "unauthenticated")
    problem(await refresh(http, other["refresh_token"]), 401, "unauthenticated")
    await refused_within_5_s(http, bearer(other["access_token"]))
    for still in (owner, stranger):
        assert (await http.get("/auth/me", headers=still.headers)).status_code == 200
    assert (await refresh(http, stranger.tokens["refresh_token"])).status_code == 200
    for own in ({"refresh_token": owner.tokens["refresh_token"]}, {}):
        headers = owner.headers if own else stranger.headers
        assert (await http.post("/auth/logout", json=own, headers=headers)).status_code == 200


async def test_an_address_is_registered_once(http: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {
        "email": address(),
        "password": PASSWORD,
        "merchant": {"name": "Shop", "country": "NL", "currency": "EUR"},
    }
    answers = await together(http.post("/auth/register", json=body) for _ in range(8))
    assert Counter(each.status_code for each in answers) == {201: 1, 422: 7}
    assert {each.json()["code"] for each in answers if each.status_code == 422} == {"email_taken"}


async def test_wrong_password_and_unknown_address_get_the_same_response(
    http: httpx.AsyncClient,
) -> None:
    owner = await register(http)
    same = {"x-request-id": "same"}
    wrong = await login(http, owner.email, "not the password", **same)
    unknown = await login(http, address(), "not the password", **same)
    problem(wrong, 401, "invalid_credentials")
    assert wrong.content == unknown.content
    volatile = {"date"}
    assert {k: v for k, v in wrong.headers.items() if k not in volatile} == {
        k: v for k, v in unknown.headers.items() if k not in volatile
    }


async def test_a_refresh_token_works_once(http: httpx.AsyncClient) -> None:
    owner = await register(http)
    first = owner.tokens["refresh_token"]
    pair = (await refresh(http, first)).json()
    assert (await http.get("/auth/me", headers=bearer(pair["access_token"]))).status_code == 200
    third = await refresh(http, pair["refresh_token"])
    assert third.status_code == 200
    problem(await refresh(http, first), 401, "token_reused")
    # All tokens of the session are revoked, whichever of them was stolen.
    problem(await refresh(http, third.json()["refresh_token"]), 401, "token_reused")
    await refused_within_5_s(http, bearer(third.json()["access_token"]))
    again = SignedInMember(owner.email, (await login(http, owner.email)).json())
    reused = await audited(http, again, action="session.reused")
    assert len(reused) == 1
    assert reused[0]["after"] == {"member": owner.id}


async def test_a_lost_response_is_repeated(
    http: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    owner = await register(http)
    first = owner.tokens["refresh_token"]
    pair = (await refresh(http, first)).json()
    again = (await refresh(other, first)).json()  # by another instance
    assert again["refresh_token"] == pair["refresh_token"]
    for each in (pair, again):
        me = await http.get("/auth/me", headers=bearer(each["access_token"]))
        assert me.status_code == 200
    assert (await refresh(http, again["refresh_token"])).status_code == 200


async def test_a_lost_response_is_not_repeated_to_another_client(http: httpx.AsyncClient) -> None:
    owner = await register(http)
    first = owner.tokens["refresh_token"]
    assert (await refresh(http, first)).status_code == 200
    problem(await refresh(http, first, **{"user-agent": "thief"}), 401, "token_reused")


async def test_a_lost_response_is_not_repeated_later(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    first = user.tokens["refresh_token"]
    assert (await refresh(http, first)).status_code == 200
    await owner.execute(
        "update florin.session s set rotated_at = rotated_at - interval '11 s'"
        " from florin.member m where m.id = s.member and m.email = $1",
        user.email,
    )
    problem(await refresh(http, first), 401, "token_reused")


async def test_concurrent_refreshes_have_one_successor(
    http: httpx.AsyncClient, other: httpx.AsyncClient, owner: Any
) -> None:
    for _ in range(5):
        user = await register(http)
        first = user.tokens["refresh_token"]
        answers = await together(refresh(each, first) for each in (http, other) for _ in range(25))
        assert {each.status_code for each in answers} == {200}
        assert len({each.json()["refresh_token"] for each in answers}) == 1
        successor = answers[0].json()["refresh_token"]
        assert successor != first
        assert (await refresh(http, successor)).status_code == 200
        problem(await refresh(other, first), 401, "token_reused")
        ended = await owner.fetchval(
            "select count(*) from florin.session s join florin.member m on m.id = s.member"
            " where m.email = $1 and s.reused",
            user.email,
        )
        assert ended == 1


async def test_a_sign_in_ends_everywhere(http: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    """Signing out, a changed password, a removed member, a changed role, a revoked key."""
    owner = await register(http)
    leaving, elsewhere, removed, changed = [await member(http, owner, "cashier") for _ in range(4)]
    made = await http.post(
        "/api-keys", json={"name": "till", "scopes": ["cards:read"]}, headers=owner.headers
    )
    key = made.json()
    key_headers = bearer(key["secret"])
    all_headers = [each.headers for each in (leaving, elsewhere, removed, changed)]
    for headers in (*all_headers, key_headers):  # now they are in the cache of the other instance
        assert (await other.get("/auth/me", headers=headers)).status_code == 200
    fresh = (await login(http, elsewhere.email)).json()["access_token"]
    assert (await http.post("/auth/logout", headers=leaving.headers)).status_code == 200
    answer = await http.post(
        "/auth/password",
        json={"current_password": PASSWORD, "password": "another horse battery"},
        headers=bearer(fresh),
    )
    assert answer.status_code == 200, answer.text
    gone = await http.delete(f"/members/{removed.id}", headers=owner.headers)
    assert gone.status_code == 200
    now = await http.patch(
        f"/members/{changed.id}", json={"role": "manager"}, headers=owner.headers
    )
    assert now.json()["role"] == "manager"
    assert (await http.delete(f"/api-keys/{key['id']}", headers=owner.headers)).status_code == 200
    await asyncio.gather(
        *(refused_within_5_s(other, each.headers) for each in (leaving, elsewhere, removed)),
        refused_within_5_s(other, key_headers),
    )
    seen = await other.get("/auth/me", headers=changed.headers)
    assert "programs:write" in seen.json()["scopes"]
    still = await other.get("/auth/me", headers=bearer(fresh))  # this session stays
    assert still.status_code == 200
    problem(await login(http, elsewhere.email), 401, "invalid_credentials")
    assert (await login(http, elsewhere.email, "another horse battery")).status_code == 200


async def test_sessions_are_listed_and_ended_by_their_member(http: httpx.AsyncClient) -> None:
    owner = await register(http)
    tokens = (await login(http, owner.email)).json()
    listed = (await http.get("/sessions", headers=owner.headers)).json()["data"]
    assert [each["current"] for each in listed] == [False, True]
    stranger = await register(http)
    for method in ("GET", "DELETE"):
        answer = await http.request(
            method, f"/sessions/{listed[0]['id']}", headers=stranger.headers
        )
        problem(answer, 404, "not_found")
    ended = await http.delete(f"/sessions/{listed[0]['id']}", headers=owner.headers)
    assert ended.json()["revoked_at"] is not None
    await refused_within_5_s(http, bearer(tokens["access_token"]))
    assert (await http.get("/auth/me", headers=owner.headers)).status_code == 200


async def test_the_database_contains_no_usable_credentials(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    refreshed = (await refresh(http, user.tokens["refresh_token"])).json()
    key = await http.post(
        "/api-keys", json={"name": "k", "scopes": ["cards:read"]}, headers=user.headers
    )
    reset = {"email": user.email}
    assert (await http.post("/auth/password-resets", json=reset)).status_code == 202
    letter_ = await email_token(owner, user.email, "password_reset")
    assert letter_ is not None
    secrets = [PASSWORD, key.json()["secret"], letter_]
    for pair in (user.tokens, refreshed):
        for token in (pair["access_token"], pair["refresh_token"]):
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            secrets += [token, payload, claims["jti"]]
    for table in await owner.fetch("select tablename from pg_tables where schemaname = 'florin'"):
        name = table["tablename"]
        rows = await owner.fetch(f"select t::text as text from florin.{name} t")  # noqa: S608
        text = "\n".join(row["text"] for row in rows)
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{name} holds a secret"
