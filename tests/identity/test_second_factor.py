"""The second factor over HTTP: set-up, sign-in, single use, guessing limits, required by role."""

import asyncio
import base64
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from florin.identity.credentials import lockout
from tests.support.api_calls import problem, together
from tests.support.members import (
    PASSWORD,
    Json,
    SignedInMember,
    audited,
    bearer,
    login,
    member,
    register,
)


class Authenticator:
    """The authenticator: a code for now, or for steps of 30 s before and after."""

    def __init__(self, secret: str) -> None:
        self._totp = TOTP(base64.b32decode(secret), 6, SHA1(), 30)  # noqa: S303 -- RFC 6238's

    def code(self, steps: int = 0) -> str:
        return self._totp.generate(int(time.time()) + 30 * steps).decode()

    def wrong(self) -> str:
        right = {self.code(steps) for steps in range(-3, 4)}
        return next(code for n in range(9) if (code := f"{n:06}") not in right)


async def challenge(http: httpx.AsyncClient, email: str, password: str = PASSWORD) -> str:
    found = problem(await login(http, email, password), 401, "mfa_required")
    assert found["expires_in"] == 300
    token: str = found["mfa_token"]
    return token


async def answer(http: httpx.AsyncClient, token: str, code: str) -> httpx.Response:
    return await http.post("/auth/mfa", json={"mfa_token": token, "code": code})


async def enrolled(
    http: httpx.AsyncClient, owner: Any, user: SignedInMember
) -> tuple[Authenticator, list[str]]:
    """Set a factor up, and forget the step of the code that confirmed it."""
    begun = await http.post("/auth/totp", json={"password": PASSWORD}, headers=user.headers)
    assert begun.status_code == 201, begun.text
    found: Json = begun.json()
    assert found["secret"] in found["uri"]
    phone = Authenticator(found["secret"])
    confirmed = await http.post(
        "/auth/totp/confirm", json={"code": phone.code()}, headers=user.headers
    )
    assert confirmed.status_code == 200, confirmed.text
    await forget_steps(owner, user)
    return phone, confirmed.json()["recovery_codes"]


async def forget_steps(owner: Any, user: SignedInMember) -> None:
    await owner.execute("update florin.member set totp_step = 0 where email = $1", user.email)


async def test_a_factor_is_set_up_required_and_turned_off(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    elsewhere = (await login(http, user.email)).json()
    begun = await http.post("/auth/totp", json={"password": PASSWORD}, headers=user.headers)
    assert (await login(http, user.email)).status_code == 200  # nothing until confirmed
    phone = Authenticator(begun.json()["secret"])
    wrong = await http.post(
        "/auth/totp/confirm", json={"code": phone.wrong()}, headers=user.headers
    )
    problem(wrong, 401, "invalid_credentials")
    phone, codes = await enrolled(http, owner, user)
    assert len(set(codes)) == 10
    again = await http.post("/auth/totp", json={"password": PASSWORD}, headers=user.headers)
    problem(again, 422, "second_factor_already_on")
    gone = await http.get("/auth/me", headers=bearer(elsewhere["access_token"]))
    problem(gone, 401, "unauthenticated")
    token = await challenge(http, user.email)
    problem(await answer(http, token, phone.wrong()), 401, "invalid_credentials")
    entered = await answer(http, token, phone.code())
    assert entered.status_code == 200, entered.text
    headers = bearer(entered.json()["access_token"])
    assert (await http.get("/auth/me", headers=headers)).json()["user"]["second_factor"] is True
    await forget_steps(owner, user)
    for body in (
        {"password": "wrong", "code": phone.code()},
        {"password": PASSWORD, "code": phone.wrong()},
    ):
        refused = await http.post("/auth/totp/disable", json=body, headers=headers)
        problem(refused, 401, "invalid_credentials")
    off = await http.post(
        "/auth/totp/disable", json={"password": PASSWORD, "code": phone.code()}, headers=headers
    )
    assert off.json()["second_factor"] is False
    assert (await login(http, user.email)).status_code == 200
    actions = {each["action"] for each in await audited(http, user)}
    assert {"second_factor.begun", "second_factor.on", "second_factor.off"} <= actions


async def test_codes_are_read_as_people_paste_them(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    begun = await http.post("/auth/totp", json={"password": PASSWORD}, headers=user.headers)
    phone = Authenticator(begun.json()["secret"])
    spaced = f"{phone.code()[:3]}\u00a0{phone.code()[3:]}\n"
    path = "/auth/totp/confirm"
    confirmed = await http.post(path, json={"code": spaced}, headers=user.headers)
    assert confirmed.status_code == 200, confirmed.text
    recovery: list[str] = confirmed.json()["recovery_codes"]
    wide = {ord(str(n)): 0xFF10 + n for n in range(10)}
    for spelled in (
        lambda: f"{phone.code()}\r\n",
        lambda: f"\ufeff{phone.code()}\u200b",
        lambda: phone.code().translate(wide),
        lambda: recovery[0].replace("-", "\u2011").upper(),
        lambda: f"{recovery[1]}\n",
    ):
        await forget_steps(owner, user)
        entered = await answer(http, await challenge(http, user.email), spelled())
        assert entered.status_code == 200, entered.text


async def test_a_code_is_accepted_once(http: httpx.AsyncClient, owner: Any) -> None:
    """Also for concurrent uses. Using a code invalidates all earlier ones."""
    user = await register(http)
    phone, _ = await enrolled(http, owner, user)
    token, code, earlier = await challenge(http, user.email), phone.code(), phone.code(-1)
    answers = await together(answer(http, token, code) for _ in range(4))
    assert Counter(each.status_code for each in answers) == {200: 1, 401: 3}
    problem(
        await answer(http, await challenge(http, user.email), earlier),
        401,
        "invalid_credentials",
    )


async def test_a_confirmed_factor_is_not_confirmed_again(
    http: httpx.AsyncClient, owner: Any
) -> None:
    """Otherwise anyone at an unlocked console could replace the recovery codes."""
    user = await register(http)
    phone, codes = await enrolled(http, owner, user)
    for _ in range(2):
        body = {"code": phone.code()}
        again = await http.post("/auth/totp/confirm", json=body, headers=user.headers)
        problem(again, 401, "invalid_credentials")
    token = await challenge(http, user.email)
    assert (await answer(http, token, codes[0])).status_code == 200


async def test_an_unconfirmed_factor_cannot_be_guessed(http: httpx.AsyncClient) -> None:
    user = await register(http)
    begun = await http.post("/auth/totp", json={"password": PASSWORD}, headers=user.headers)
    phone = Authenticator(begun.json()["secret"])

    async def confirm(code: str) -> httpx.Response:
        body = {"code": code}
        return await http.post("/auth/totp/confirm", json=body, headers=user.headers)

    answers = await together(confirm(phone.wrong()) for _ in range(20))
    counted = Counter(each.status_code for each in answers)
    assert counted == {401: lockout.PROOF_MOST, 429: 20 - lockout.PROOF_MOST}
    problem(await confirm(phone.code()), 429, "rate_limited")


@pytest.mark.parametrize(("steps", "status"), [(-3, 401), (-1, 200), (1, 200), (3, 401)])
async def test_clocks_may_differ_a_little(
    http: httpx.AsyncClient, owner: Any, steps: int, status: int
) -> None:
    user = await register(http)
    phone, _ = await enrolled(http, owner, user)
    token = await challenge(http, user.email)
    await asyncio.sleep(max(0.0, time.time() % 30 - 24))  # not in the last moments of a step
    assert (await answer(http, token, phone.code(steps))).status_code == status


async def test_codes_cannot_be_guessed(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    phone, _ = await enrolled(http, owner, user)
    tokens = [await challenge(http, user.email) for _ in range(3)]  # new ones do not help
    answers = await together(answer(http, tokens[n % 3], phone.wrong()) for n in range(30))
    counted = Counter(each.status_code for each in answers)
    assert counted == {401: lockout.PROOF_MOST, 429: 30 - lockout.PROOF_MOST}
    problem(await answer(http, tokens[0], phone.code()), 429, "rate_limited")
    # Nor where the password, which is right each time, is proved in between.
    for _ in range(2):
        refused = await http.post(
            "/auth/totp/disable",
            json={"password": PASSWORD, "code": phone.code()},
            headers=user.headers,
        )
        problem(refused, 429, "rate_limited")


async def test_a_right_password_does_not_reset_the_limit_of_codes(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    phone, _ = await enrolled(http, owner, user)
    answers = [
        await http.post(
            "/auth/totp/disable",
            json={"password": PASSWORD, "code": phone.wrong()},
            headers=user.headers,
        )
        for _ in range(lockout.PROOF_MOST + 2)
    ]
    assert [each.status_code for each in answers[-2:]] == [429, 429]
    assert 429 not in {each.status_code for each in answers[:-2]}


async def test_a_recovery_code_works_once(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    phone, codes = await enrolled(http, owner, user)
    typed = codes[0].replace("-", " ").upper()
    token = await challenge(http, user.email)
    answers = await together(answer(http, token, typed) for _ in range(4))
    assert Counter(each.status_code for each in answers) == {200: 1, 401: 3}
    assert (await answer(http, token, codes[1])).status_code == 200
    renewed = await http.post(
        "/auth/totp/recovery-codes",
        json={"password": PASSWORD, "code": phone.code()},
        headers=user.headers,
    )
    assert renewed.status_code == 200, renewed.text
    problem(await answer(http, token, codes[2]), 401, "invalid_credentials")
    assert (await answer(http, token, renewed.json()["recovery_codes"][2])).status_code == 200


async def test_a_challenge_is_for_one_password(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    phone, _ = await enrolled(http, owner, user)
    token = await challenge(http, user.email)
    changed = await http.post(
        "/auth/password",
        json={"current_password": PASSWORD, "password": "another horse battery"},
        headers=user.headers,
    )
    assert changed.status_code == 200
    problem(await answer(http, token, phone.code()), 401, "unauthenticated")
    for forged in (
        "",
        token[:-1],
        user.tokens["access_token"],
        user.tokens["refresh_token"],
    ):
        problem(await answer(http, forged, phone.code()), 401, "unauthenticated")
    headers = bearer(token)
    problem(await http.get("/auth/me", headers=headers), 401, "unauthenticated")
    problem(await http.post("/auth/refresh", json={"refresh_token": token}), 401, "unauthenticated")


async def test_a_role_may_require_a_second_factor(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    manager, cashier = await member(http, boss, "manager"), await member(http, boss, "cashier")
    changed = await http.patch(
        "/merchant", json={"second_factor_roles": ["manager"]}, headers=boss.headers
    )
    assert changed.json()["second_factor_roles"] == ["manager"]
    tokens = (await login(http, manager.email)).json()
    limited = SignedInMember(manager.email, {**tokens, "user": manager.tokens["user"]})
    for path in ("/members", "/programs", "/audit", "/cards"):
        refused = await http.get(path, headers=limited.headers)
        problem(refused, 403, "second_factor_required")
    assert (await http.get("/auth/me", headers=limited.headers)).json()["scopes"] == []
    assert (await http.get("/programs", headers=cashier.headers)).status_code == 200
    phone, _ = await enrolled(http, owner, limited)
    assert (await http.get("/programs", headers=limited.headers)).status_code == 200
    entered = await answer(http, await challenge(http, manager.email), phone.code())
    headers = bearer(entered.json()["access_token"])
    assert (await http.get("/members", headers=headers)).status_code == 200


async def test_an_owner_resets_a_lost_second_factor(http: httpx.AsyncClient, owner: Any) -> None:
    boss = await register(http)
    manager = await member(http, boss, "manager")
    await enrolled(http, owner, manager)
    problem(await login(http, manager.email), 401, "mfa_required")
    path = f"/members/{manager.id}/reset-second-factor"
    problem(await http.post(path, headers=manager.headers), 403, "forbidden")
    helped = await http.post(path, headers=boss.headers)
    assert helped.json()["second_factor"] is False
    problem(await http.get("/auth/me", headers=manager.headers), 401, "unauthenticated")
    assert (await login(http, manager.email)).status_code == 200
    assert await audited(http, boss, action="member.second_factor_reset")
