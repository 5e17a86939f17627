"""Batching: how items reach a function of the ledger, together where they can, alone where they
must.

Items share calls (kit/coalesce). One whose card or key is held elsewhere for longer than
LOCK_TIMEOUT_MS leaves its call and waits alone, with whatever else names the same card, so that its
neighbours do not wait for it. A call cut off by a broken connection is repeated: with their keys
the items that had happened are found, and the others happen now.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from florin.kit.batcher import Batcher
from florin.kit.errors import OutcomeUnknown, Overloaded, Refusal
from florin.kit.observability import metrics
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, Row, read_position
from florin.kit.postgres.pool import terminate_after

DISK_FULL = "the disk of the database is full"
LOCK_TIMEOUT_MS = 50
PATIENCE_ALONE_MS = 10_000
ALONE_MAX = 4  # connections that may wait for a held card at once
ALONE_WAITING_MAX = 500
MANY_MAX = 200  # items of a batch request in one call: their cards stay locked until it commits
MANY_IN_FLIGHT_MAX = 2
MANY_WAIT_S = 5.0
REPEAT_FOR_S = 10.0  # how long a broken connection is tried again
ANSWERED_WITHIN_S = 10.0  # beyond the patience; then the connection counts as broken
_TRANSIENT_ATTEMPTS = 5

_TRANSIENT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class BatchItem(Protocol):
    """What a lane needs to know of an item."""

    @property
    def merchant(self) -> UUID: ...
    @property
    def key(self) -> str | None: ...


Answered = tuple[Row, str]  # the item's row and the position of the log after its commit


class _ContendedGroup:
    """Where the items that name something held elsewhere wait together, away from the others."""

    def __init__(self, calls: Batcher[Any, Answered]) -> None:
        self.calls = calls
        self.names: set[object] = set()
        self.waiting = 0


def ignore_merchants(_merchants: set[UUID]) -> None:
    """Hears whose something changed, where nobody asks."""


class PostingBatcher:
    """Calls one function of the ledger. `arguments(items, patience_ms)` makes its parameters;
    `told` hears whose something may have changed.
    """

    def __init__(
        self,
        database: Database,
        arguments: Callable[[list[Any], int], list[object]],
        sql: str,
        told: Callable[[set[UUID]], None] = ignore_merchants,
    ) -> None:
        self._database = database
        self._told = told
        self._arguments = arguments
        self._sql = sql
        self._together: Batcher[Any, Answered] = Batcher(self._call_together)
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._many = asyncio.Semaphore(MANY_IN_FLIGHT_MAX)
        self._held: dict[object, _ContendedGroup] = {}  # by the card or key that is held elsewhere

    async def submit(self, item: BatchItem) -> Answered:
        answered = await self._submit(item)
        record_commit()
        return answered

    async def _submit(self, item: BatchItem) -> Answered:
        if self._held:
            for name in _names(item):
                if name in self._held:
                    return await self._submit_alone(item, self._held[name])
        answered = await self._together.submit(item)
        if answered[0]["outcome"] != "busy":
            return answered
        for name in _names(item):
            if name in self._held:
                return await self._submit_alone(item, self._held[name])
        lane = _ContendedGroup(
            Batcher(
                self._call_alone,
                in_flight_max=1,
                waiting_max=ALONE_WAITING_MAX,
                wait_max_s=PATIENCE_ALONE_MS / 1000,
            )
        )
        return await self._submit_alone(item, lane)

    async def submit_all(self, items: Sequence[Any]) -> list[Answered | BaseException]:
        """The same for many items of one request: some calls of their own, beside the others."""
        answers: list[Answered | BaseException] = []
        for start in range(0, len(items), MANY_MAX):
            part = list(items[start : start + MANY_MAX])
            try:
                async with asyncio.timeout(MANY_WAIT_S):
                    await self._many.acquire()
            except TimeoutError:
                answers.extend(Overloaded() for _ in part)
                continue
            try:
                # Shielded: the calls belong to the books, not to the client that may go away.
                called = await asyncio.shield(asyncio.ensure_future(self._call_some(part)))
            finally:
                self._many.release()
            answers.extend(called)
        record_commit()
        busy = [n for n, answer in enumerate(answers) if _is_busy(answer)]
        again = await asyncio.gather(*(self.submit(items[n]) for n in busy), return_exceptions=True)
        for n, answer in zip(busy, again, strict=True):
            answers[n] = answer
        return answers

    async def settle(self) -> None:
        await self._together.settle()
        for lane in {id(lane): lane for lane in self._held.values()}.values():
            await lane.calls.settle()

    def waiting(self) -> int:
        return self._together.waiting + sum(
            lane.waiting for lane in {id(lane): lane for lane in self._held.values()}.values()
        )

    async def _submit_alone(self, item: BatchItem, lane: _ContendedGroup) -> Answered:
        lane.waiting += 1
        for name in _names(item):
            self._held.setdefault(name, lane)
            lane.names.add(name)
        try:
            return await lane.calls.submit(item)
        finally:
            lane.waiting -= 1
            if lane.waiting == 0:
                for name in lane.names:
                    if self._held.get(name) is lane:
                        del self._held[name]

    async def _call_some(self, items: list[Any]) -> list[Answered | BaseException]:
        try:
            return await self._call(items, LOCK_TIMEOUT_MS)
        except Refusal as refusal:
            return [refusal for _ in items]

    async def _call_together(self, items: list[Any]) -> Sequence[Answered | BaseException]:
        return await self._call(items, LOCK_TIMEOUT_MS)

    async def _call_alone(self, items: list[Any]) -> Sequence[Answered | BaseException]:
        async with self._alone:
            return await self._call(items, PATIENCE_ALONE_MS)

    async def _call(self, items: list[Any], patience_ms: int) -> list[Answered | BaseException]:
        """Call the function, again where the connection broke. One answer an item."""
        give_up = time.monotonic() + REPEAT_FOR_S
        sent = False
        transient = 0
        pause_s = 0.02
        while True:
            sent_before = sent
            try:
                async with self._database.connection() as connection:
                    sent = True
                    within_s = ANSWERED_WITHIN_S + patience_ms / 1000
                    with metrics.ledger_seconds.time(), terminate_after(connection, within_s):
                        rows = await connection.fetch(
                            self._sql, *self._arguments(items, patience_ms)
                        )
                    metrics.batch_items.observe(len(items))
                    where = await read_position(connection)
                self._told({item.merchant for item in items})
                return [(row, where) for row in rows]
            except PoolTimeout:
                raise (OutcomeUnknown() if sent else Overloaded()) from None
            except _TRANSIENT:
                sent = sent_before  # rolled back, as far as this attempt goes
                transient += 1
                if transient >= _TRANSIENT_ATTEMPTS:
                    raise Overloaded from None
            except BROKEN:
                if time.monotonic() > give_up:
                    raise (OutcomeUnknown() if sent else Overloaded()) from None
            except asyncpg.DiskFullError:  # rolled back, too
                raise (OutcomeUnknown() if sent_before else Overloaded(DISK_FULL)) from None
            except asyncpg.PostgresError as error:
                if len(items) == 1:
                    return [error]
                # A bug in one item must not fail its neighbours: each is called by itself.
                return [(await self._call([item], patience_ms))[0] for item in items]
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)


def _names(item: Any) -> list[object]:
    names: list[object] = []
    for field in ("card", "code", "other"):
        value = getattr(item, field, None)
        if value is not None:
            names.append((item.merchant, value))
    if item.key is not None:
        names.append((item.merchant, item.key))
    return names


def _is_busy(answer: Answered | BaseException) -> bool:
    return not isinstance(answer, BaseException) and answer[0]["outcome"] == "busy"
