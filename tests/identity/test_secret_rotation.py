"""Every secret is rotated on two instances under load: no one is signed out, nothing fails."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.identity.test_second_factor import answer, challenge, enrolled
from tests.support.instance import SECRETS, Instance, Shop, instance
from tests.support.members import (
    PASSWORD,
    SignedInMember,
    bearer,
    client_of,
    email_token,
    login,
    register,
)

COMING = {name: f"{value}-and-changed-since" for name, value in SECRETS.items()}


def previous(secrets: dict[str, str]) -> dict[str, str]:
    return {f"{name}_PREVIOUS": value for name, value in secrets.items()}


@pytest.fixture(scope="module")
def pair(urls: Urls) -> Iterator[list[Instance]]:
    url = f"{urls.app}?connection_limit=10&pool_timeout=20"
    with instance(url) as one, instance(url) as two:
        yield [one, two]


class Serving:
    """Two instances behind a balancer: an instance gets no requests while it is replaced."""

    def __init__(self, clients: list[httpx.AsyncClient]) -> None:
        self._clients = clients
        self._busy = [0, 0]
        self._idle = [asyncio.Event(), asyncio.Event()]
        self._open = [True, True]
        self._turn = 0

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        self._turn += 1
        at = self._turn % 2 if all(self._open) else self._open.index(True)
        self._busy[at] += 1
        self._idle[at].clear()
        try:
            return await self._clients[at].request(method, path, **more)
        finally:
            self._busy[at] -= 1
            if not self._busy[at]:
                self._idle[at].set()

    async def replace(self, at: int, running: Instance, **secrets: str) -> None:
        self._open[at] = False
        await self._idle[at].wait()
        await asyncio.to_thread(running.stop)
        running.environ = {**running.environ, **secrets}
        await asyncio.to_thread(running.start)
        self._open[at] = True


@pytest.fixture
async def serving(pair: list[Instance]) -> AsyncGenerator[Serving]:
    async with AsyncExitStack() as stack:
        yield Serving([await stack.enter_async_context(client_of(each)) for each in pair])


class Load:
    """Runs requests continuously and records those that failed."""

    def __init__(self, serving: Serving, user: SignedInMember, shop: Shop, card: Any) -> None:
        self._serving, self._shop, self._card = serving, shop, card
        self._old = user.headers
        self._tokens = user.tokens
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()

    async def work(self, over: asyncio.Event) -> None:
        while not over.is_set():
            for verb in (self._me, self._refresh, self._redeem, self._look_up, self._issue):
                await self._record(verb)

    async def _record(self, verb: Callable[[], Awaitable[bool]]) -> None:
        name = verb.__name__
        self.done[name] += 1
        if not await verb():
            self.wrong.append(name)

    async def _me(self) -> bool:
        found = await self._serving.ask("GET", "/auth/me", headers=self._old)
        return found.status_code == 200

    async def _refresh(self) -> bool:
        body = {"refresh_token": self._tokens["refresh_token"]}
        pair = await self._serving.ask("POST", "/auth/refresh", json=body)
        if pair.status_code != 200:
            return False
        self._tokens = pair.json()
        headers = bearer(self._tokens["access_token"])
        return (await self._serving.ask("GET", "/auth/me", headers=headers)).status_code == 200

    async def _redeem(self) -> bool:
        """Redeem by code, and repeat with the same idempotency key on either instance."""
        body = {"code": self._card["code"], "amount": 1, "currency": "EUR"}
        headers = {**self._shop.headers, "idempotency-key": uuid.uuid4().hex}
        first, again = [
            await self._serving.ask("POST", "/redemptions", json=body, headers=headers)
            for _ in range(2)
        ]
        await asyncio.sleep(0.05)
        third = await self._serving.ask("POST", "/redemptions", json=body, headers=headers)
        return first.status_code == 201 and first.content == again.content == third.content

    async def _look_up(self) -> bool:
        found = await self._serving.ask(
            "POST", "/cards/lookup", json={"code": self._card["code"]}, headers=self._shop.headers
        )
        return found.status_code == 200

    async def _issue(self) -> bool:
        """A code that one instance encrypted is decrypted by the other."""
        body = {"program": self._shop.program, "amount": 5}
        headers = {**self._shop.headers, "idempotency-key": uuid.uuid4().hex}
        first, again = [
            await self._serving.ask("POST", "/cards", json=body, headers=headers) for _ in range(2)
        ]
        return first.json()["code"] is not None and first.json()["code"] == again.json()["code"]


@pytest.mark.slow
async def test_every_secret_is_rotated_and_nothing_fails(
    pair: list[Instance], serving: Serving, shop: Shop, owner: Any
) -> None:
    async with client_of(pair[0]) as http:
        user, guarded, forgetful = [await register(http) for _ in range(3)]
        phone, _ = await enrolled(http, owner, guarded)
        await http.post("/auth/password-resets", json={"email": forgetful.email})
        reset = await email_token(owner, forgetful.email, "password_reset")
        made = await http.post(
            "/cards",
            json={"program": shop.program, "amount": 1_000_000},
            headers={**shop.headers, "idempotency-key": uuid.uuid4().hex},
        )
    over = asyncio.Event()
    loads = [Load(serving, await _fresh(serving, user), shop, made.json()) for _ in range(3)]
    working = [asyncio.create_task(load.work(over)) for load in loads]
    try:
        for secrets in ({**SECRETS, **previous(COMING)}, {**COMING, **previous(SECRETS)}):
            for at, running in enumerate(pair):  # known to both before either uses it
                await serving.replace(at, running, **secrets)
                await _going_on(loads)
        async with client_of(pair[0]) as http:
            body = {"token": reset, "password": "a new horse battery"}
            accepted = await http.post("/auth/password-resets/confirm", json=body)
            assert accepted.status_code == 200, accepted.text  # found by the pepper before
        # What was found by its hash under the old pepper has moved: that may be taken away.
        for at, running in enumerate(pair):
            await serving.replace(at, running, FLORIN_KEY_PEPPER_PREVIOUS="")
        await _going_on(loads)
    finally:
        over.set()
        await asyncio.gather(*working)
    assert [load.wrong for load in loads] == [[], [], []]
    async with client_of(pair[1]) as http:
        # Sealed under the old key, and still a second factor.
        entered = await answer(http, await challenge(http, guarded.email), phone.code())
        assert entered.status_code == 200, entered.text
        assert (await login(http, user.email)).status_code == 200


async def _going_on(loads: list[Load]) -> None:
    """Wait until every request of every load has run again."""
    before = [sum(load.done.values()) for load in loads]
    async with asyncio.timeout(60):
        for load, so_far in zip(loads, before, strict=True):
            while sum(load.done.values()) < so_far + 6:  # noqa: ASYNC110 -- they count, no more
                await asyncio.sleep(0.05)


async def _fresh(serving: Serving, user: SignedInMember) -> SignedInMember:
    body = {"email": user.email, "password": PASSWORD}
    tokens = (await serving.ask("POST", "/auth/login", json=body)).json()
    return SignedInMember(user.email, tokens)
