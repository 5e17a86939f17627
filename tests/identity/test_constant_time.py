"""Response times do not reveal who is a member. Passwords are hashed with the required strength and
with limited concurrency, so that memory is bounded.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from florin.identity.credentials import passwords
from florin.kit.errors import Overloaded
from florin.kit.http import constant_time
from tests.support.members import PASSWORD, address, login, register
from tests.support.timing_comparison import alike, by_turns

Ask = Callable[[], Awaitable[None]]
LETTERS = ["/auth/password-resets", "/auth/email-verifications"]
ROUNDS = 30
STRONG = "$argon2id$v=19$m=19456,t=2,p=1$"


@pytest.fixture
def fresh(owner: Any) -> Ask:
    """Open all locks: a request to a closed lock is answered sooner."""

    async def open_all() -> None:
        await owner.execute("delete from florin.failed_attempt")

    return open_all


def email_to(http: httpx.AsyncClient, path: str, email: str, status: int = 202) -> Ask:
    async def ask() -> None:
        answer = await http.post(path, json={"email": email})
        assert answer.status_code == status

    return ask


async def timed(ask: Ask) -> float:
    began = time.monotonic()
    await ask()
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("path", LETTERS)
async def test_an_email_to_an_unknown_address_takes_as_long(
    http: httpx.AsyncClient, fresh: Ask, path: str
) -> None:
    user = email_to(http, path, (await register(http)).email)
    unknown = email_to(http, path, address("owner"))
    assert not await alike(user, unknown, ROUNDS, before=fresh)
    # No response is sent before its time step is over.
    for ask in (user, unknown) * 3:
        await fresh()
        assert await timed(ask) > constant_time.STEP_S * 0.98
    # The same measure detects a difference where there is one.
    refused = email_to(http, path, "not-an-address", 422)
    assert await by_turns(user, refused, ROUNDS, before=fresh) > 0.9


async def test_the_password_of_an_unknown_member_takes_as_long(
    http: httpx.AsyncClient, fresh: Ask
) -> None:
    """For an unknown address a password hash is checked, too."""

    def wrong(user: str) -> Ask:
        async def ask() -> None:
            assert (await login(http, user, "not the password")).status_code == 401

        return ask

    user, unknown = wrong((await register(http)).email), wrong(address("owner"))
    assert not await alike(user, unknown, ROUNDS, before=fresh)
    for ask in (user, unknown) * 3:
        await fresh()
        assert await timed(ask) > constant_time.STEP_S * 0.98


async def test_a_hash_meets_the_owasp_parameters() -> None:
    made = await passwords.hash_password(PASSWORD)
    assert made.startswith(STRONG)
    assert await passwords.password_matches(made, PASSWORD)
    for wrong in ("", PASSWORD.upper(), f"{PASSWORD} "):
        assert not await passwords.password_matches(made, wrong)


async def test_a_password_is_checked_for_unknown_members_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def verify(password_hash: str, _typed: str) -> bool:
        asked.append(password_hash)
        return False

    monkeypatch.setattr(passwords, "_verify", verify)
    assert not await passwords.password_matches(None, PASSWORD)
    assert len(asked) == 1
    assert asked[0].startswith(STRONG)
    assert not passwords.is_outdated_hash(asked[0])


async def test_an_outdated_hash_is_replaced_at_the_next_sign_in(
    http: httpx.AsyncClient, owner: Any
) -> None:
    user = await register(http)
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await owner.execute(
        "update florin.member set password_hash = $2 where email = $1", user.email, weak
    )
    assert (await login(http, user.email, "not the password")).status_code == 401
    kept = "select password_hash from florin.member where email = $1"
    assert await owner.fetchval(kept, user.email) == weak
    assert (await login(http, user.email)).status_code == 200
    assert (await owner.fetchval(kept, user.email)).startswith(STRONG)
    assert (await login(http, user.email)).status_code == 200


class Slow:
    """Checks that block until they are released; counts how many run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._go = threading.Event()
        self.running = self.most = 0

    def __call__(self, *_: str) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self._go.wait(30)
        with self._lock:
            self.running -= 1
        return True

    def let_go(self) -> None:
        self._go.set()


async def test_running_and_waiting_hashes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(passwords, "_verify", slow)
    room = passwords.HashingCapacity("tests", threads=2, waiting_max=12)
    monkeypatch.setattr(passwords, "CHECKING", room)
    checks = [asyncio.ensure_future(passwords.password_matches("x", "y")) for _ in range(12)]
    try:
        async with asyncio.timeout(30):
            while slow.running < 2:  # noqa: ASYNC110 -- it happens in threads
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):  # at once, and without a hash
            with pytest.raises(Overloaded):
                await passwords.password_matches("x", "y")
    finally:
        slow.let_go()
    assert await asyncio.gather(*checks) == [True] * 12
    assert slow.most == 2
    assert await passwords.password_matches("x", "y"), "there is room again"


def test_the_memory_of_all_hashes_is_bounded() -> None:
    """At most three hashes of 19 MiB and three cores, for any number of requests."""
    rooms = (passwords.CHECKING, passwords.MAKING)
    assert [(room.threads, room.waiting_max) for room in rooms] == [(2, 256), (1, 32)]


@pytest.mark.parametrize("full", ["makes", "checks"])
async def test_checks_and_new_hashes_do_not_wait_for_each_other(full: str) -> None:
    """One kind has no free place; the other is still answered."""
    slow = Slow()
    made = await passwords.hash_password(PASSWORD)
    room = passwords.MAKING if full == "makes" else passwords.CHECKING
    held = [asyncio.ensure_future(room.run(slow)) for _ in range(room.waiting_max)]
    try:
        async with asyncio.timeout(30):
            while slow.running < room.threads:  # noqa: ASYNC110 -- it happens in threads
                await asyncio.sleep(0.01)
            if full == "makes":
                assert await passwords.password_matches(made, PASSWORD)
                with pytest.raises(Overloaded):
                    await passwords.hash_password(PASSWORD)
            else:
                assert (await passwords.hash_password(PASSWORD)).startswith(STRONG)
                with pytest.raises(Overloaded):
                    await passwords.password_matches(made, PASSWORD)
    finally:
        slow.let_go()
    assert all(await asyncio.gather(*held))
