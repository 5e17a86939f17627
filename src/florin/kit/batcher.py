"""Batcher: requests that wait at the same time share one call, each with its own answer.

Requests that arrive while a call is in flight form the next batch; a request on an idle batcher is
sent at once. The queue is bounded in length and in age; beyond either limit a request is refused
with Overloaded and has had no effect.

Time in which no call returns does not count towards the age: the request then waits for the
database, not for a queue that is too long. A failover of the primary takes seconds; STOOD_MAX_S
bounds that wait, too.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from florin.kit.errors import Overloaded

STILL_S = 0.5  # without any answer: from then on the age of requests stops
STOOD_MAX_S = 10.0  # total wait of a request, with the time in which no call returned

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collects items and passes them to `call`, at most `in_flight_max` calls at once.

    `call` returns one answer per item, in order; an exception among them is raised in the
    `submit` of its item only. Cancelling a `submit` does not cancel the call.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Answer | BaseException]]],
        *,
        batch_max: int = 200,
        in_flight_max: int = 2,
        waiting_max: int = 5_000,
        wait_max_s: float = 3.0,
    ) -> None:
        self._call = call
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._waiting_max = waiting_max
        self._wait_max_s = wait_max_s
        self._stood_max_s = max(wait_max_s, STOOD_MAX_S)
        self._waiting: deque[tuple[float, float, Item, asyncio.Future[Answer]]] = deque()
        self._moved_s = 0.0
        self._answered_at = time.monotonic()
        self._calls: set[asyncio.Task[None]] = set()
        self._woken = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    async def submit(self, item: Item) -> Answer:
        """Wait for the item's own answer. Raises Overloaded when too many wait, or for too long."""
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        now = time.monotonic()
        if not self._calls and not self._waiting:
            self._turn(now)  # an idle batcher had no call that could return
        self._waiting.append((now, self._moving_s(now), item, answer))
        if not self._woken:
            # On the next iteration of the loop: requests read from sockets in one share a batch.
            self._woken = True
            loop.call_soon(self._pump)
        # Shielded: a client that disconnects must not cancel a call that other requests share.
        return await asyncio.shield(answer)

    async def settle(self) -> None:
        """Wait until nothing waits and no call is in flight."""
        while self._calls or self._waiting:
            if self._calls:
                await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)

    def _pump(self) -> None:
        self._woken = False
        while self._waiting and len(self._calls) < self._in_flight_max:
            batch: list[tuple[Item, asyncio.Future[Answer]]] = []
            now = time.monotonic()
            oldest, oldest_moved = now - self._stood_max_s, self._moving_s(now) - self._wait_max_s
            while self._waiting and len(batch) < self._batch_max:
                since, since_moved, item, answer = self._waiting.popleft()
                if since_moved < oldest_moved or since < oldest:
                    _fail(answer, Overloaded())
                else:
                    batch.append((item, answer))
            if batch:
                task = asyncio.ensure_future(self._run(batch))
                self._calls.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._turn(time.monotonic())
        self._pump()

    def _turn(self, now: float) -> None:
        self._moved_s, self._answered_at = self._moving_s(now), now

    def _moving_s(self, now: float) -> float:
        """A clock in seconds that stops while no call returns."""
        return self._moved_s + min(now - self._answered_at, STILL_S)

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._call([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001 -- raised in every waiting `submit`
            for _, answer in batch:
                _fail(answer, error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, BaseException):
                _fail(future, answer)
            elif not future.done():
                future.set_result(answer)


def _fail(future: asyncio.Future[Answer], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a cancelled `submit` never retrieves it: avoids asyncio's warning
