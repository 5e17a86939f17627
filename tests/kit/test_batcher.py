"""Batcher: waiting requests share a call, and one that fails does not affect the others."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from florin.kit import batcher
from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded


class Calls:
    """A function for batches; it returns once `gate` is set."""

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


async def test_the_first_item_never_waits_for_others() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1)
    first = asyncio.ensure_future(together.submit(1))
    await settle()
    assert calls.batches == [[1]]
    calls.gate.set()
    assert await first == 2


async def test_items_gather_while_a_call_is_in_flight() -> None:
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


async def test_each_item_gets_its_own_answer_or_error() -> None:
    calls = Calls()
    calls.gate.set()
    together = Batcher(calls)
    answers = await asyncio.gather(
        *(together.submit(item) for item in (1, -2, 3)), return_exceptions=True
    )
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], ValueError)


async def test_the_size_of_a_batch_is_limited() -> None:
    calls = Calls()
    calls.gate.set()
    together = Batcher(calls, batch_max=2, in_flight_max=1)
    await asyncio.gather(*(together.submit(item) for item in range(5)))
    assert [len(batch) for batch in calls.batches] == [2, 2, 1]


async def test_the_number_of_waiting_items_is_limited() -> None:
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


async def test_the_age_of_waiting_items_is_limited() -> None:
    calls = Calls()
    together = Batcher(calls, in_flight_max=1, wait_max_s=0)
    first = asyncio.ensure_future(together.submit(1))
    # An item that waited too long behind a call is refused at its turn, never processed late.
    waited = asyncio.ensure_future(together.submit(2))
    calls.gate.set()
    with pytest.raises(Overloaded):
        await first
    with pytest.raises(Overloaded):
        await waited
    assert calls.batches == []


async def test_items_do_not_expire_while_no_call_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failover, items that waited for the old primary are processed, not refused."""
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


async def test_items_expire_while_calls_return(
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


async def test_a_cancelled_waiter_does_not_cancel_the_call() -> None:
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


async def test_a_failed_call_fails_only_its_own_items() -> None:
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
