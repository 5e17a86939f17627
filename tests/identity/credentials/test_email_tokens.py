"""Password resets and e-mail verification over HTTP: same response for all, one use, expiry."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from florin.identity.credentials import lockout
from tests.conftest import Urls
from tests.support.api_calls import problem, together
from tests.support.instance import SECRETS
from tests.support.members import (
    PASSWORD,
    address,
    audited,
    bearer,
    email_token,
    lock_waits,
    login,
    register,
)

NEW = "a new horse battery"


async def ask(http: httpx.AsyncClient, email: str) -> httpx.Response:
    return await http.post("/auth/password-resets", json={"email": email})


async def confirm(http: httpx.AsyncClient, token: str | None) -> httpx.Response:
    return await http.post("/auth/password-resets/confirm", json={"token": token, "password": NEW})


@pytest.mark.parametrize("path", ["/auth/password-resets", "/auth/email-verifications"])
async def test_the_response_does_not_reveal_members(http: httpx.AsyncClient, path: str) -> None:
    user = await register(http)
    headers = {"x-request-id": "same"}
    one, two = [
        await http.post(path, json={"email": email}, headers=headers)
        for email in (user.email, address())
    ]
    assert one.status_code == two.status_code == 202
    assert one.content == two.content
    assert set(one.headers) == set(two.headers)


async def test_a_reset_works_once_and_ends_every_session(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    await ask(http, user.email.upper())
    old = await email_token(owner, user.email, "password_reset")
    await ask(http, user.email)
    token = await email_token(owner, user.email, "password_reset")
    problem(await confirm(http, f"{token}x"), 422, "token_invalid")
    answers = await together(confirm(http, token) for _ in range(5))
    assert Counter(each.status_code for each in answers) == {200: 1, 422: 4}
    problem(await confirm(http, old), 422, "token_invalid")  # used up with the other one
    problem(await http.get("/auth/me", headers=user.headers), 401, "unauthenticated")
    refreshed = await http.post(
        "/auth/refresh", json={"refresh_token": user.tokens["refresh_token"]}
    )
    problem(refreshed, 401, "unauthenticated")
    problem(await login(http, user.email, PASSWORD), 401, "invalid_credentials")
    again = await login(http, user.email, NEW)
    assert again.status_code == 200
    user.tokens = again.json()
    actions = Counter(each["action"] for each in await audited(http, user))
    assert actions["password.set"] == 1
    assert actions["password_reset.requested"] == 2


async def test_a_requested_token_does_not_invalidate_earlier_ones(
    http: httpx.AsyncClient, owner: Any
) -> None:
    """Anyone who knows an address can request a token; earlier tokens stay valid."""
    user = await register(http)
    for path, kind in (
        ("/auth/password-resets", "password_reset"),
        ("/auth/email-verifications", "email_verification"),
    ):
        await http.post(path, json={"email": user.email})
        token = await email_token(owner, user.email, kind)
        for _ in range(lockout.LETTERS_MOST):
            await http.post(path, json={"email": user.email})
        body = {"token": token}
        if kind == "password_reset":
            body["password"] = NEW
        answer = await http.post(f"{path}/confirm", json=body)
        assert answer.status_code == 200, answer.text
        assert await email_token(owner, user.email, kind) is None  # none is left, used or not


async def test_one_of_several_tokens_used_at_once_is_accepted(
    http: httpx.AsyncClient, owner: Any, urls: Urls
) -> None:
    """All requests wait right before they use their token; each invalidates the others."""
    user = await register(http)
    tokens: list[str | None] = []
    for _ in range(3):
        await ask(http, user.email)
        tokens.append(await email_token(owner, user.email, "password_reset"))
    async with owner.transaction():
        await owner.execute("select 1 from florin.email_token where used_at is null for update")
        calls = [asyncio.create_task(confirm(http, token)) for token in tokens]
        async with asyncio.timeout(60):
            while await lock_waits(urls.superuser) < len(calls):  # noqa: ASYNC110 -- it happens in PostgreSQL
                await asyncio.sleep(0.05)
    answers = await asyncio.gather(*calls)
    assert Counter(each.status_code for each in answers) == {200: 1, 422: 2}


async def test_a_reset_token_expires(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    await ask(http, user.email)
    token = await email_token(owner, user.email, "password_reset")
    await owner.execute(
        "update florin.email_token set expires_at = created_at where kind = 'password_reset'"
    )
    problem(await confirm(http, token), 422, "token_invalid")
    assert (await login(http, user.email)).status_code == 200


async def test_a_token_is_accepted_for_its_own_purpose_only(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    verification = await email_token(owner, user.email, "email_verification")
    problem(await confirm(http, verification), 422, "token_invalid")
    await ask(http, user.email)
    reset = await email_token(owner, user.email, "password_reset")
    for path in ("/auth/email-verifications/confirm",):
        problem(await http.post(path, json={"token": reset}), 422, "token_invalid")
    verified = await http.post("/auth/email-verifications/confirm", json={"token": verification})
    assert verified.json()["email_verified"] is True
    me = await http.get("/auth/me", headers=user.headers)
    assert me.json()["user"]["email_verified"] is True


async def test_the_number_of_tokens_is_limited(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    answers = [await ask(http, user.email) for _ in range(lockout.LETTERS_MOST + 4)]
    assert {each.status_code for each in answers} == {202}  # reveals nothing either
    written = await owner.fetchval(
        "select count(*) from florin.email_token l join florin.member m on m.id = l.member"
        " where m.email = $1 and l.kind = 'password_reset'",
        user.email,
    )
    assert written == lockout.LETTERS_MOST


async def test_a_reset_ends_a_lockout_by_other_networks(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    await owner.execute(
        "update florin.session s set address_hash = 'elsewhere' from florin.member m"
        " where m.id = s.member and m.email = $1",
        user.email,
    )
    await ask(http, user.email)
    token = await email_token(owner, user.email, "password_reset")
    await owner.execute(  # the account is under attack from many networks
        "insert into florin.failed_attempt (subject, most, failures, last_at)"
        " select s, 1, 1000, clock_timestamp() from unnest($1::bytea[]) s"
        " on conflict (subject) do update set failures = 1000",
        _account_locks(user.email),
    )
    problem(await login(http, user.email), 429, "rate_limited")
    assert (await confirm(http, token)).status_code == 200
    answer = await login(http, user.email, NEW)
    assert answer.status_code == 200, answer.text
    me = await http.get("/auth/me", headers=bearer(answer.json()["access_token"]))
    assert me.status_code == 200


def _account_locks(email: str) -> list[bytes]:
    pepper = SECRETS["FLORIN_KEY_PEPPER"].encode()
    locks = lockout.sign_in_locks(pepper, email=email, network="127.0.0.1", known=False)
    return [lock.subject for lock in locks[1:]]
