"""Weak new passwords are refused wherever a password is chosen; others are accepted."""

from typing import Any

import httpx
import pytest

from florin.identity.credentials.password_rules import check_password, weakness
from florin.kit.errors import InvalidRequest
from tests.support.api_calls import problem
from tests.support.members import PASSWORD, address, email_token, register

WEAK = [
    "1234567890",  # common
    "qwertyuiop",
    "PASSWORD123",
    "Sunshine2024!",  # a common word with digits and signs
    "!!!!football!!!!",
    "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff10",  # the same in full width
    "aaaaaaaaaaaa",  # repeated
    "xkvxkvxkvxkv",
    "567890123456789",  # a run
    "zyxwvutsrqpo",
]
STRONG = [
    PASSWORD,
    "a password of some length",
    "horse2staple9battery",
    "kT7#qPz!mW3x",
    "\u00fcberraschung im garten",
]


@pytest.mark.parametrize("password", WEAK)
def test_common_passwords_are_weak(password: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_password(password)
    assert refused.value.param == "password"
    assert password not in str(refused.value.detail)


@pytest.mark.parametrize("password", STRONG)
def test_other_passwords_pass(password: str) -> None:
    check_password(password, email="anna.smith@shop.nl")


@pytest.mark.parametrize("password", ["Anna.Smith@shop.nl", "anna.smith2024", "11anna.smith"])
def test_the_users_own_address_is_weak(password: str) -> None:
    assert weakness(password, "anna.smith@shop.nl") == "is the e-mail address"
    assert weakness(password) is None


async def test_every_route_that_sets_a_password_checks_it(
    http: httpx.AsyncClient, owner: Any
) -> None:
    weak = WEAK[0]
    merchant = {"name": "Shop", "country": "NL", "currency": "EUR"}
    boss = await register(http)
    await http.post("/auth/password-resets", json={"email": boss.email})
    reset = {"token": await email_token(owner, boss.email, "password_reset")}
    guest = address("guest")
    await http.post("/members", json={"email": guest, "role": "viewer"}, headers=boss.headers)
    invitation = {"token": await email_token(owner, guest, "invitation")}
    calls: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("/auth/register", {"email": address(), "merchant": merchant}, {}),
        ("/members", {"email": address(), "role": "viewer"}, boss.headers),
        ("/auth/password-resets/confirm", reset, {}),
        ("/auth/invitations/accept", invitation, {}),
        ("/auth/password", {"current_password": PASSWORD}, boss.headers),
    ]
    for path, body, headers in calls:
        answer = await http.post(path, json={**body, "password": weak}, headers=headers)
        problem(answer, 422, "invalid_request", param="password")
    for path, body, _ in calls[2:4]:  # a refused password does not use up the token
        answer = await http.post(path, json={**body, "password": "another horse battery"})
        assert answer.status_code == 200, answer.text
