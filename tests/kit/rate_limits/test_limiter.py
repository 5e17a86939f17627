"""Rate limits hold across processes, without Valkey, and while it hangs, and delay no request."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from florin.kit.errors import RateLimited
from florin.kit.rate_limits import limiter as limits_
from florin.kit.rate_limits import store
from florin.kit.rate_limits.limiter import Limit, RateLimiter
from florin.kit.valkey import client as valkey
from florin.kit.valkey import topologies
from tests.support.valkey_server import Memory, memory

FIVE = Limit("five", 5)
PATIENT_S = 30.0  # on a busy machine an answer may be late although the server is well
HURRIED = Limit("hurried", 2, 0.4)


class Counting:
    """Forwards commands to a client and counts them."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.commands = 0

    async def eval(self, *arguments: Any) -> Any:
        self.commands += 1
        return await self._client.eval(*arguments)

    async def delete(self, key: str) -> Any:
        return await self._client.delete(key)


@pytest.fixture(scope="module")
def shared() -> Iterator[Memory]:
    with memory() as running:
        yield running


@pytest.fixture
async def client(shared: Memory) -> AsyncGenerator[Any]:
    made = valkey.connect_valkey(shared.url)
    try:
        await made.flushall()
        yield made
    finally:
        await made.aclose()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long time-outs of the client as well: these tests are about counts, not about time."""
    monkeypatch.setattr(valkey, "TIMEOUT_S", PATIENT_S)
    monkeypatch.setattr(topologies, "BUDGET_S", PATIENT_S)


async def test_the_limit_admits_its_number_of_attempts(client: Any) -> None:
    limits = RateLimiter(client, patience_s=PATIENT_S)
    for _ in range(5):
        assert await limits.blocked((FIVE, "a")) is None
        assert await limits.count((FIVE, "a")) is None
    wait = await limits.blocked((FIVE, "a"))
    assert wait is not None
    assert 60 < wait <= 120, "one of five in ten minutes is paid off in two"
    assert await limits.blocked((FIVE, "b")) is None
    again = await limits.blocked((FIVE, "b"), (FIVE, "a"))
    assert again is not None
    assert 60 < again <= wait, "the longer of both"
    await limits.forgive(FIVE, "a")
    assert await limits.blocked((FIVE, "a")) is None


async def test_attempts_are_admitted_again_after_recovery(client: Any) -> None:
    limits = RateLimiter(client, patience_s=PATIENT_S)
    async with asyncio.timeout(60):
        wait = None
        while wait is None:  # unless the command took longer than the recovery
            await limits.count((HURRIED, "a"), times=2)
            wait = await limits.blocked((HURRIED, "a"))
        assert wait == 1, "whole seconds, rounded up"
        while await limits.blocked((HURRIED, "a")) is not None:  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert limits.idle or await limits.blocked((HURRIED, "a")) is None
    assert limits.idle, "what was paid off is forgotten"


async def test_concurrent_attempts_are_counted_exactly(client: Any) -> None:
    several = [RateLimiter(client, patience_s=PATIENT_S) for _ in range(4)]
    answers = await asyncio.gather(*(each.count((FIVE, "a")) for each in several * 10))
    assert sum(answer is None for answer in answers) == 5
    wait = max(answer for answer in answers if answer is not None)
    assert wait > 35 * 110, "what slipped through at once is paid for"


async def test_processes_share_a_limit(client: Any) -> None:
    one, other = (
        RateLimiter(client, patience_s=PATIENT_S),
        RateLimiter(client, patience_s=PATIENT_S),
    )
    await other.count((FIVE, "a"), times=3)  # more than half: from now on each attempt is a command
    await one.count((FIVE, "a"), times=2)
    assert await one.blocked((FIVE, "a")) is not None
    assert await other.blocked((FIVE, "a")) is not None
    other_process = RateLimiter(client, patience_s=PATIENT_S)
    assert await other_process.blocked((FIVE, "a"), sure=True) is not None


async def test_an_attempt_far_from_the_limit_sends_no_command(client: Any) -> None:
    counting = Counting(client)
    limits = RateLimiter(counting, patience_s=PATIENT_S)
    assert limits.idle
    await limits.count((FIVE, "a"))
    commands = counting.commands
    for _ in range(100):
        assert await limits.blocked((FIVE, "a"), (FIVE, "b")) is None
    assert counting.commands == commands
    assert not limits.idle


async def test_no_refusal_lasts_longer_than_the_recovery(client: Any) -> None:
    limits = RateLimiter(client, patience_s=PATIENT_S)
    wait = await limits.count((FIVE, "a"), times=10**9)
    assert wait is not None
    assert wait <= FIVE.per_s * limits_.DEBT_MAX
    assert (
        await client.pttl(limits_.limit_key(FIVE, "a"))
        <= FIVE.per_s * limits_.DEBT_MAX * 1000 + 1000
    )


async def test_a_missing_limit_admits_everything(client: Any) -> None:
    limits = RateLimiter(client, patience_s=PATIENT_S)
    none = Limit("none", 0)
    assert await limits.count((none, "a"), times=1000) is None
    assert await limits.blocked((none, "a")) is None
    await limits.acquire(none, "a")
    assert limits.idle
    for _ in range(5):
        await limits.acquire(FIVE, "a")
    with pytest.raises(RateLimited) as refused:
        await limits.acquire(FIVE, "a")
    assert refused.value.retry_after_s is not None
    assert refused.value.extra["retry_after"] == refused.value.retry_after_s > 60


async def test_a_process_without_valkey_admits_its_share() -> None:
    limits = RateLimiter(None, shares=4)
    twenty = Limit("twenty", 20)
    for _ in range(5):
        assert await limits.blocked((twenty, "a")) is None
        assert await limits.count((twenty, "a")) is None
    assert await limits.blocked((twenty, "a")) is not None
    two = Limit("two", 2)
    assert await limits.blocked((two, "a")) is None, "its share is one at least"
    assert await limits.count((two, "a")) is None
    assert await limits.blocked((two, "a")) is not None


async def test_a_process_without_valkey_keeps_the_rate() -> None:
    """In any interval at most `most` plus the rate, compared with a list of all instants."""
    dice = random.Random(7)
    now = 0.0
    limit = Limit("ten", 10, 100)
    limits = RateLimiter(None, shares=1, now=lambda: now)
    let: list[float] = []
    for _ in range(3000):
        now += dice.choice([0, 0, 0, 1, 5, 30, 200]) * dice.random()
        if await limits.blocked((limit, "a")) is None:
            let.append(now)
            await limits.count((limit, "a"))
    assert len(let) > now / 10 * 0.5, "the limit lets through what it may"
    for first in range(len(let)):
        for last in range(first, min(first + 200, len(let))):
            allowed = 10 + (let[last] - let[first]) / 10 + 0.01
            assert last - first + 1 <= allowed


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_, "KNOWN_MAX", 500)
    limits = RateLimiter(None)
    for number in range(2000):
        await limits.count((FIVE, str(number)), times=5)
        assert len(limits._due) <= 500  # pyright: ignore[reportPrivateUsage]
    assert await limits.blocked((FIVE, "1999")) is not None
    assert await limits.blocked((FIVE, "1600")) is not None
    assert await limits.blocked((FIVE, "0")) is None


async def test_a_lost_valkey_keeps_counts_and_delays_no_request() -> None:
    with memory() as running:
        client = valkey.connect_valkey(running.url)
        try:
            counting = Counting(client)
            limits = RateLimiter(counting, shares=1, patience_s=0.05)
            await limits.count((FIVE, "a"), times=5)
            running.freeze()
            began = time.monotonic()
            for _ in range(200):
                await limits.blocked((FIVE, "a"))
                await limits.count((FIVE, "b"), times=0.01)
            rests = (time.monotonic() - began) / store.REST_S
            running.thaw()
            commands = counting.commands
            assert commands < 20 + rests * (store.SLOW_MAX + 1), "a hanging server is left alone"
            running.kill()
            assert await limits.blocked((FIVE, "a")) is not None
            for _ in range(4):
                await limits.count((FIVE, "c"))
            assert await limits.blocked((FIVE, "c")) is None
            await limits.count((FIVE, "c"))
            assert await limits.blocked((FIVE, "c")) is not None
        finally:
            await client.aclose()


async def test_a_slow_valkey_is_bypassed() -> None:
    """Although no command fails."""
    late = asyncio.Event()

    class Late:
        async def eval(self, *_arguments: Any) -> int:
            await late.wait()
            return 0

    asking = store.GcraStore(Late(), patience_s=0.01, learnt=lambda _key, _seconds: None)
    for _ in range(store.SLOW_MAX):
        assert not asking.away
        assert await asking.add("k", 1, 10) is None
    assert asking.away
    late.set()


async def test_a_valkey_that_comes_back_is_used_again(
    shared: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REST_S", 0.1)
    client = valkey.connect_valkey(shared.url)
    try:
        counting = Counting(client)
        limits = RateLimiter(counting)
        await client.flushall()
        shared.freeze()
        try:
            for _ in range(20):
                await limits.count((FIVE, "x"), times=0.01)
        finally:
            shared.thaw()
        async with asyncio.timeout(60):
            while not await client.exists(limits_.limit_key(FIVE, "later")):  # delayed or not
                await limits.count((FIVE, "later"), times=0.01)
                await asyncio.sleep(0.05)
    finally:
        await client.aclose()
