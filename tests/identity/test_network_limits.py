"""Requests of unknown callers are limited, and no password is hashed for wrong ones."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest

from florin.identity import network_limits
from florin.identity.credentials import passwords
from florin.identity.network_limits import NetworkLimiter
from florin.kit.errors import RateLimited
from florin.kit.rate_limits.limiter import RateLimiter
from tests.conftest import Urls
from tests.support.api_calls import problem, together
from tests.support.instance import Instance, instance
from tests.support.members import PASSWORD, address, client_of, email_token, login, register

MERCHANT = {"name": "Shop", "country": "NL", "currency": "EUR"}
# More than may wait for a hash: if one were computed for each, some responses would be 503.
MANY = 3 * passwords.MAKING.waiting_max


@pytest.fixture(scope="module")
def proxied(urls: Urls) -> Iterator[Instance]:
    """An instance that trusts the X-Forwarded-For of the tests."""
    url = f"{urls.app}?connection_limit=10&pool_timeout=20"
    with instance(url, FLORIN_TRUSTED_PROXIES="127.0.0.0/8") as running:
        yield running


@pytest.fixture
async def far(proxied: Instance) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(proxied) as client:
        yield client


def from_(source: str) -> dict[str, str]:
    return {"x-forwarded-for": source}


async def sign_up(http: httpx.AsyncClient, email: str, source: str) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, "merchant": MERCHANT}
    return await http.post("/auth/register", json=body, headers=from_(source))


async def confirm(http: httpx.AsyncClient, token: str | None, **headers: str) -> httpx.Response:
    body = {"token": token, "password": PASSWORD}
    return await http.post("/auth/password-resets/confirm", json=body, headers=headers)


@pytest.mark.parametrize("kind", ["password-resets/confirm", "invitations/accept"])
async def test_nothing_is_hashed_for_a_wrong_token(http: httpx.AsyncClient, kind: str) -> None:
    calls = [
        http.post(f"/auth/{kind}", json={"token": f"flt_{n}", "password": PASSWORD})
        for n in range(MANY)
    ]
    answers = await together(calls)
    assert Counter(each.json()["code"] for each in answers) == {"token_invalid": MANY}


async def test_nothing_is_hashed_for_an_address_that_is_taken(http: httpx.AsyncClient) -> None:
    boss = await register(http)
    body = {"email": boss.email, "password": PASSWORD, "merchant": MERCHANT}
    answers = await together(http.post("/auth/register", json=body) for _ in range(MANY))
    assert Counter(each.json()["code"] for each in answers) == {"email_taken": MANY}
    member = {"email": boss.email, "password": PASSWORD, "role": "viewer"}
    answers = await together(
        http.post("/members", json=member, headers=boss.headers) for _ in range(MANY)
    )
    # How often a caller may find out that an address is taken is limited, too.
    most = network_limits.TAKEN_PER_MERCHANT.max
    codes = Counter(each.json()["code"] for each in answers)
    assert codes == {"email_taken": most, "rate_limited": MANY - most}


@pytest.mark.parametrize(
    ("near", "neighbour", "far_away"),
    [
        (["198.51.100.7"] * 4, "198.51.100.{}", "198.51.101.7"),
        (["2001:db8:7::1", "2001:db8:7::2"] * 2, "2001:db8:7:{}::1", "2001:db8:8::1"),
    ],
)
async def test_sign_ups_are_limited_by_address_and_network(
    far: httpx.AsyncClient, near: list[str], neighbour: str, far_away: str
) -> None:
    """A sign-up with a taken address counts more, so that only few addresses can be tried."""
    taken = (await register(far)).email
    counted = 1 + network_limits.TAKEN
    allowed = network_limits.SIGN_UPS.address.max // counted
    answers = [await sign_up(far, taken, each) for each in near]
    assert [each.status_code for each in answers] == [422] * allowed + [429] * (4 - allowed)
    assert int(answers[-1].headers["retry-after"]) > 0
    problem(answers[-1], 429, "rate_limited")
    problem(await sign_up(far, address(), near[0]), 429, "rate_limited")  # for any address
    codes = [(await sign_up(far, taken, neighbour.format(n))).status_code for n in range(20, 30)]
    left = network_limits.SIGN_UPS.network.max // counted - (allowed + 1)
    assert codes[:left] == [422] * left
    assert codes[-1] == 429
    assert (await sign_up(far, address(), far_away)).status_code == 201


async def test_wrong_tokens_are_limited_and_right_ones_are_not(
    far: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(far)
    await far.post("/auth/password-resets", json={"email": user.email})
    token = await email_token(owner, user.email, "password_reset")
    most = network_limits.WRONG_TOKENS.address.max
    answers = [await confirm(far, f"flt_{n}", **from_("203.0.113.9")) for n in range(most + 3)]
    assert [each.status_code for each in answers[:most]] == [422] * most
    for late in (answers[-1], await confirm(far, token, **from_("203.0.113.9"))):
        problem(late, 429, "rate_limited")
    verify = "/auth/email-verifications/confirm"
    wrong = await far.post(verify, json={"token": "flt_x"}, headers=from_("203.0.113.9"))
    problem(wrong, 429, "rate_limited")
    assert (await confirm(far, token, **from_("203.0.114.9"))).status_code == 200


async def test_the_hashes_per_token_are_limited(http: httpx.AsyncClient, owner: Any) -> None:
    """Also for concurrent requests: none finishes before the last one is refused."""
    user = await register(http)
    await http.post("/auth/password-resets", json={"email": user.email})
    token = await email_token(owner, user.email, "password_reset")
    most, at_once = network_limits.PASSWORDS_PER_TOKEN.max, 20
    async with owner.transaction():
        await owner.execute("select 1 from florin.email_token where used_at is null for update")
        calls = [asyncio.create_task(confirm(http, token)) for _ in range(at_once)]
        pending = set(calls)
        async with asyncio.timeout(60):
            while len(pending) > most:
                early, pending = await asyncio.wait(pending, return_when="FIRST_COMPLETED")
                assert {each.result().status_code for each in early} == {429}
    answers = Counter(each.status_code for each in await asyncio.gather(*calls))
    assert answers == {200: 1, 422: most - 1, 429: at_once - most}


async def test_sign_ins_of_one_address_are_limited(far: httpx.AsyncClient) -> None:
    """Sign-ins with the right password count, too: each costs a hash."""
    user = await register(far)
    limit = network_limits.SIGN_INS.address
    began = time.monotonic()
    answers = await together(
        login(far, user.email, **from_("192.0.2.77")) for _ in range(2 * limit.max)
    )
    codes = Counter(each.status_code for each in answers)
    paid_off = (time.monotonic() - began) / limit.unit_s
    assert set(codes) == {200, 429}
    assert codes[200] <= limit.max + paid_off + 1
    assert (await login(far, user.email, **from_("192.0.3.77"))).status_code == 200


@pytest.mark.parametrize("source", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_loopback_is_not_counted_in_development(source: str) -> None:
    limit = network_limits.SIGN_UPS
    spares = NetworkLimiter(RateLimiter(None, shares=1), spare_loopback=True)
    counts = NetworkLimiter(RateLimiter(None, shares=1), spare_loopback=False)
    for _ in range(limit.address.max):
        await counts.take(limit, source)
    with pytest.raises(RateLimited):
        await counts.take(limit, source)
    for _ in range(2 * limit.network.max):
        await spares.take(limit, source)
    for _ in range(limit.address.max):
        await spares.take(limit, "198.51.100.1")
    with pytest.raises(RateLimited):
        await spares.take(limit, "198.51.100.1")
