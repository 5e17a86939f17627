"""Requests that wait share a call, and none pays for another."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from florin.kit import batcher
from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded


class Calls:
    """A function to be called together, that answers when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, items: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(items)
        await self.gate.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_never_waits_for_company() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1)
    first = asyncio.ensure_future(together.submit(1))
    await settle()
    assert calls.batches == [[1]]
    calls.gate.set()
    assert await first == 2


async def test_while_a_call_is_in_flight_the_next_ones_gather() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1)
    first = asyncio.ensure_future(together.submit(1))
    await settle()
    others = [asyncio.ensure_future(together.submit(item)) for item in (2, 3, 4)]
    await settle()
    assert calls.batches == [[1]]
    calls.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert calls.batches == [[1], [2, 3, 4]]


async def test_each_keeps_its_own_answer_also_when_it_is_an_error() -> None:
    calls = Calls()
    calls.gate.set()
    together = Batcher(calls)
    answers = await asyncio.gather(
        *(together.submit(item) for item in (1, -2, 3)), return_exceptions=True
    )
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], ValueError)


async def test_a_batch_has_a_limit() -> None:
    calls = Calls()
    calls.gate.set()
    together = Batcher(calls, batch_max=2, in_flight_max=1)
    await asyncio.gather(*(together.submit(item) for item in range(5)))
    assert [len(batch) for batch in calls.batches] == [2, 2, 1]


async def test_the_waiting_room_is_bounded_in_count() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1, waiting_max=2)
    inside = [asyncio.ensure_future(together.submit(1))]
    await settle()
    inside += [asyncio.ensure_future(together.submit(item)) for item in (2, 3)]
    await settle()
    async with asyncio.timeout(5):
        with pytest.raises(Overloaded):
            await together.submit(4)
    calls.gate.set()
    assert await asyncio.gather(*inside) == [2, 4, 6]
    assert 4 not in [item for batch in calls.batches for item in batch]


async def test_the_waiting_room_is_bounded_in_age() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1, wait_max_s=0)
    first = asyncio.ensure_future(together.submit(1))
    # What waits behind a call that takes long is refused when its turn comes, never done late.
    waited = asyncio.ensure_future(together.submit(2))
    calls.gate.set()
    with pytest.raises(Overloaded):
        await first
    with pytest.raises(Overloaded):
        await waited
    assert calls.batches == []


async def test_behind_a_call_that_stands_still_nothing_grows_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A primary froze and another took over: what waited meanwhile is done, not refused."""
    now = 1000.0
    monkeypatch.setattr(batcher, "time", SimpleNamespace(monotonic=lambda: now))
    calls = Calls()
    together = Batcher(calls, in_flight_max=1, batch_max=1, wait_max_s=3)
    waiting = [asyncio.ensure_future(together.submit(1))]
    await settle()
    waiting += [asyncio.ensure_future(together.submit(item)) for item in (2, 3)]
    await settle()
    now += 5
    calls.gate.set()
    assert await asyncio.gather(*waiting) == [2, 4, 6]

    calls.gate.clear()
    waiting = [asyncio.ensure_future(together.submit(item)) for item in (4, 5)]
    await settle()
    now += 10.5
    calls.gate.set()
    assert await waiting[0] == 8
    with pytest.raises(Overloaded):
        await waiting[1]


async def test_where_calls_come_back_what_waits_grows_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(batcher, "time", SimpleNamespace(monotonic=lambda: now))

    async def call(items: list[int]) -> Sequence[int | BaseException]:
        nonlocal now
        now += 0.4
        return items

    together = Batcher(call, in_flight_max=1, batch_max=1, wait_max_s=3)
    answers = await asyncio.gather(
        *(together.submit(item) for item in range(12)), return_exceptions=True
    )
    assert answers[:8] == list(range(8))
    assert all(isinstance(answer, Overloaded) for answer in answers[8:])


async def test_who_goes_away_does_not_cancel_the_call() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1)
    gone = asyncio.ensure_future(together.submit(1))
    stays = asyncio.ensure_future(together.submit(2))
    await settle()
    gone.cancel()
    await settle()
    calls.gate.set()
    assert await stays == 4
    assert calls.batches == [[1, 2]]


async def test_a_call_that_fails_fails_only_those_in_it() -> None:
    failing = True

    async def call(items: list[int]) -> Sequence[int | BaseException]:
        if failing:
            raise ConnectionError
        return items

    together = Batcher(call)
    with pytest.raises(ConnectionError):
        await together.submit(1)
    failing = False
    assert await together.submit(2) == 2
    await together.settle()
    assert (together.waiting, together.in_flight) == (0, 0)
