"""Lockout: guessing passwords locks the guesser out for a while, and never a known member."""

from collections import Counter
from typing import Any

import httpx
import pytest

from florin.identity.credentials import lockout
from tests.conftest import Urls
from tests.support.api_calls import problem, together
from tests.support.instance import SECRETS, instance
from tests.support.members import PASSWORD, SignedInMember, address, client_of, login, register

PEPPER = SECRETS["FLORIN_KEY_PEPPER"].encode()


@pytest.fixture(autouse=True)
async def fresh(owner: Any) -> None:
    await owner.execute("delete from florin.failed_attempt")


async def stranger(owner: Any, user: SignedInMember) -> None:
    """Make the network of this test unknown for the member."""
    await owner.execute(
        "update florin.session s set address_hash = 'elsewhere' from florin.member m"
        " where m.merchant = s.merchant and m.id = s.member and m.email = $1",
        user.email,
    )


async def later(owner: Any, seconds: int) -> None:
    await owner.execute(
        "update florin.failed_attempt set last_at = last_at - make_interval(secs => $1)", seconds
    )


@pytest.mark.parametrize("exists", [True, False])
async def test_failures_lock_an_account_for_a_while(
    http: httpx.AsyncClient, owner: Any, exists: bool
) -> None:
    """The same for an account that does not exist."""
    user = await register(http) if exists else SignedInMember(address(), {})
    for _ in range(lockout.PAIR_MOST):
        problem(await login(http, user.email, "wrong"), 401, "invalid_credentials")
    for password in ("wrong", PASSWORD):  # the right one is refused with the same response
        refused = await login(http, user.email, password)
        problem(refused, 429, "rate_limited")
        assert 0 < int(refused.headers["retry-after"]) <= lockout.FIRST_S
    assert (await login(http, (await register(http)).email)).status_code == 200  # not locked
    await later(owner, lockout.FIRST_S + 1)
    problem(await login(http, user.email, "wrong"), 401, "invalid_credentials")
    refused = await login(http, user.email, PASSWORD)
    problem(refused, 429, "rate_limited")
    assert lockout.FIRST_S < int(refused.headers["retry-after"]) <= 2 * lockout.FIRST_S
    if exists:
        await later(owner, 2 * lockout.FIRST_S + 1)
        assert (await login(http, user.email)).status_code == 200
        problem(await login(http, user.email, "wrong"), 401, "invalid_credentials")


async def test_the_longest_wait_is_bounded(http: httpx.AsyncClient, owner: Any) -> None:
    user = await register(http)
    await login(http, user.email, "wrong")
    await owner.execute(
        "update florin.failed_attempt set failures = 1000000, last_at = clock_timestamp()"
    )
    refused = await login(http, user.email)
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) <= lockout.LONGEST_S
    await later(owner, lockout.LONGEST_S + 1)
    assert (await login(http, user.email)).status_code == 200


async def test_concurrent_guesses_do_not_exceed_the_limit(http: httpx.AsyncClient) -> None:
    user = await register(http)
    answers = await together(login(http, user.email, f"wrong {n}") for n in range(40))
    counted = Counter(each.status_code for each in answers)
    assert counted == {401: lockout.PAIR_MOST, 429: 40 - lockout.PAIR_MOST}
    problem(await login(http, user.email), 429, "rate_limited")


async def test_concurrent_sign_ins_are_not_locked_out(http: httpx.AsyncClient) -> None:
    """A right password is not a failure: twenty sign-ins at once are not locked out."""
    user = await register(http)
    answers = await together(login(http, user.email) for _ in range(20))
    assert {each.status_code for each in answers} == {200}


async def test_failures_elsewhere_do_not_lock_the_owner_out(
    http: httpx.AsyncClient, owner: Any
) -> None:
    """Failures from other networks do not lock a member out of a known network."""
    user = await register(http)
    closed = [
        lock.subject
        for lock in lockout.sign_in_locks(
            PEPPER, email=user.email, network="127.0.0.1", known=False
        )[1:]
    ]
    await owner.execute(
        "insert into florin.failed_attempt (subject, most, failures, last_at)"
        " select s, 1, 1000, clock_timestamp() from unnest($1::bytea[]) s",
        closed,
    )
    assert (await login(http, user.email)).status_code == 200
    await stranger(owner, user)
    problem(await login(http, user.email), 429, "rate_limited")


async def test_an_account_is_locked_after_failures_from_many_networks(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    await stranger(owner, user)
    account = lockout.sign_in_locks(PEPPER, email=user.email, network="127.0.0.1", known=False)[1]
    await owner.execute(
        "insert into florin.failed_attempt (subject, most, failures, last_at)"
        " values ($1, $2, $2 - 1, clock_timestamp())",
        account.subject,
        lockout.ACCOUNT_MOST,
    )
    problem(await login(http, user.email, "wrong"), 401, "invalid_credentials")
    problem(await login(http, user.email), 429, "rate_limited")


async def test_a_network_is_locked_after_failures_on_many_accounts(
    http: httpx.AsyncClient,
) -> None:
    answers = await together(
        login(http, address(), "wrong") for _ in range(lockout.NETWORK_MOST + 20)
    )
    counted = Counter(each.status_code for each in answers)
    assert counted == {401: lockout.NETWORK_MOST, 429: 20}
    problem(await login(http, address(), "wrong"), 429, "rate_limited")


@pytest.mark.parametrize("trusted", [True, False])
async def test_only_trusted_proxies_set_the_client_network(urls: Urls, trusted: bool) -> None:
    """X-Forwarded-For is ignored unless a trusted proxy sent it."""
    settings = {"FLORIN_TRUSTED_PROXIES": "127.0.0.1"} if trusted else {}
    with instance(urls.app, **settings) as running:
        async with client_of(running) as http:
            user = await register(http)
            here, there = {"x-forwarded-for": "192.0.2.1"}, {"x-forwarded-for": "192.0.2.2"}
            for _ in range(lockout.PAIR_MOST):
                answer = await login(http, user.email, "wrong", **here)
                problem(answer, 401, "invalid_credentials")
            problem(await login(http, user.email, **here), 429, "rate_limited")
            elsewhere = await login(http, user.email, **there)
            assert elsewhere.status_code == (200 if trusted else 429)
