"""Batching: send items to a function of the ledger, many in one call where possible.

Items that wait at the same time share a call (kit/batcher). An item whose card or key is locked
elsewhere for longer than LOCK_TIMEOUT_MS leaves its call and waits separately, together with other
items for the same card or key, so that the rest of the call does not wait for it. A call that is
interrupted by a broken connection is repeated: items that were committed are found by their keys,
and the others are executed. An item whose client is gone before its call is sent is not executed
(see florin.kit.client_departure).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from florin.kit.batcher import Batcher
from florin.kit.client_departure import ClientConnection
from florin.kit.errors import ClientGone, OutcomeUnknown, Overloaded, Refusal
from florin.kit.observability import metrics
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, Row, read_position
from florin.kit.postgres.pool import Connection, terminate_after
from florin.ledger.call_traces import CallTraces

DISK_FULL = "the disk of the database is full"
LOCKED = "the ledger is locked by another operation; repeat the request later"
LOCK_TIMEOUT_MS = 50
LOCK_TIMEOUT_ALONE_MS = 10_000
ALONE_MAX = 4  # connections that may wait for locked cards at the same time
ALONE_WAITING_MAX = 500
MANY_MAX = 200  # items of a batch request in one call: their cards stay locked until it commits
MANY_IN_FLIGHT_MAX = 2
MANY_WAIT_S = 5.0
REPEAT_FOR_S = 10.0  # how long a call is repeated after a broken connection
ANSWERED_WITHIN_S = 10.0  # in addition to the lock timeout; then the connection counts as broken
_TRANSIENT_ATTEMPTS = 5
_TRANSIENT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class BatchItem(Protocol):
    """The fields of an item that batching uses."""

    @property
    def merchant(self) -> UUID: ...
    @property
    def key(self) -> str | None: ...
    @property
    def client(self) -> ClientConnection | None: ...


Answered = tuple[Row, str]  # the item's row and the log position after its commit


class _ContendedGroup:
    """Items that wait together for cards or keys that are locked elsewhere."""

    def __init__(self, calls: Batcher[Any, Answered]) -> None:
        self.calls = calls
        self.names: set[object] = set()
        self.waiting = 0


def ignore_merchants(_merchants: set[UUID]) -> None:
    """Do nothing: for callers without event streams."""


class PostingBatcher:
    """Calls one function of the ledger. `arguments(items, lock_timeout_ms)` makes its parameters;
    `on_change` is called with the merchants that may have new events.
    """

    def __init__(
        self,
        database: Database,
        arguments: Callable[[list[Any], int], list[object]],
        sql: str,
        on_change: Callable[[set[UUID]], None] = ignore_merchants,
    ) -> None:
        self._database = database
        self._on_change = on_change
        self._arguments = arguments
        self._sql = sql
        self._together: Batcher[Any, Answered] = Batcher(self._call_together)
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._batch_calls = asyncio.Semaphore(MANY_IN_FLIGHT_MAX)
        self._held: dict[object, _ContendedGroup] = {}  # by the card or key that is locked
        self._traces = CallTraces()

    async def submit(self, item: BatchItem) -> Answered:
        with self._traces.during((item,)):
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
        group = _ContendedGroup(
            Batcher(
                self._call_alone,
                in_flight_max=1,
                waiting_max=ALONE_WAITING_MAX,
                wait_max_s=LOCK_TIMEOUT_ALONE_MS / 1000,
            )
        )
        return await self._submit_alone(item, group)

    async def submit_all(self, items: Sequence[Any]) -> list[Answered | BaseException]:
        """Submit many items of one request, in calls of their own next to those of `submit`."""
        answers: list[Answered | BaseException] = []
        for start in range(0, len(items), MANY_MAX):
            part = list(items[start : start + MANY_MAX])
            try:
                async with asyncio.timeout(MANY_WAIT_S):
                    await self._batch_calls.acquire()
            except TimeoutError:
                answers.extend(Overloaded() for _ in part)
                continue
            try:
                # Shielded: a call must complete even when the client disconnects.
                called = await asyncio.shield(asyncio.ensure_future(self._call_some(part)))
            finally:
                self._batch_calls.release()
            answers.extend(called)
        record_commit()
        busy = [n for n, answer in enumerate(answers) if _is_busy(answer)]
        again = await asyncio.gather(*(self.submit(items[n]) for n in busy), return_exceptions=True)
        for n, answer in zip(busy, again, strict=True):
            answers[n] = answer
        return answers

    async def settle(self) -> None:
        await self._together.settle()
        for group in {id(group): group for group in self._held.values()}.values():
            await group.calls.settle()

    def waiting(self) -> int:
        return self._together.waiting + sum(
            group.waiting for group in {id(group): group for group in self._held.values()}.values()
        )

    async def _submit_alone(self, item: BatchItem, group: _ContendedGroup) -> Answered:
        group.waiting += 1
        for name in _names(item):
            self._held.setdefault(name, group)
            group.names.add(name)
        try:
            return await group.calls.submit(item)
        finally:
            group.waiting -= 1
            if group.waiting == 0:
                for name in group.names:
                    if self._held.get(name) is group:
                        del self._held[name]

    async def _call_some(self, items: list[Any]) -> list[Answered | BaseException]:
        with self._traces.during(items):
            try:
                return await self._call(items, LOCK_TIMEOUT_MS)
            except Refusal as refusal:
                return [refusal for _ in items]

    async def _call_together(self, items: list[Any]) -> Sequence[Answered | BaseException]:
        return await self._call(items, LOCK_TIMEOUT_MS)

    async def _call_alone(self, items: list[Any]) -> Sequence[Answered | BaseException]:
        async with self._alone:
            return await self._call(items, LOCK_TIMEOUT_ALONE_MS)

    async def _call(
        self, items: list[Any], lock_timeout_ms: int, *, sent: bool = False
    ) -> list[Answered | BaseException]:
        """Call the function; repeat it when the connection breaks. One answer for each item.

        `sent`: an earlier call with these items may have been committed.
        """
        give_up = time.monotonic() + REPEAT_FOR_S
        called = items
        transient = 0
        pause_s = 0.02
        while True:
            sent_before = sent
            try:
                async with self._database.connection() as connection:
                    called = called if sent else _with_client(items)
                    sent = True
                    answers = await self._execute(connection, called, lock_timeout_ms)
                self._on_change({item.merchant for item in called})
                return _answers(items, called, answers)
            except PoolTimeout:
                raise (OutcomeUnknown() if sent else Overloaded()) from None
            except _TRANSIENT:
                sent = sent_before  # this attempt was rolled back
                transient += 1
                if transient >= _TRANSIENT_ATTEMPTS:
                    raise Overloaded from None
            except BROKEN:
                if time.monotonic() > give_up:
                    raise (OutcomeUnknown() if sent else Overloaded()) from None
            except asyncpg.DiskFullError:  # also rolled back
                raise (OutcomeUnknown() if sent_before else Overloaded(DISK_FULL)) from None
            except asyncpg.PostgresError as error:
                if len(items) == 1:
                    return [_error_answer(error, sent=sent_before)]
                # An error in one item must not fail the others: call each item alone.
                alone = (self._call([each], lock_timeout_ms, sent=sent_before) for each in called)
                return _answers(items, called, [(await call)[0] for call in alone])
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    async def _execute(
        self, connection: Connection, called: list[Any], lock_timeout_ms: int
    ) -> list[Answered]:
        if not called:
            return []
        watch = terminate_after(connection, ANSWERED_WITHIN_S + lock_timeout_ms / 1000)
        with metrics.ledger_seconds.time(), watch, self._traces.step(called):
            rows = await connection.fetch(self._sql, *self._arguments(called, lock_timeout_ms))
        metrics.batch_items.observe(len(called))
        where = await read_position(connection)
        return [(row, where) for row in rows]


def _names(item: Any) -> list[object]:
    names: list[object] = []
    for field in ("card", "code", "other"):
        value = getattr(item, field, None)
        if value is not None:
            names.append((item.merchant, value))
    if item.key is not None:
        names.append((item.merchant, item.key))
    return names


def _with_client(items: list[Any]) -> list[Any]:
    return [item for item in items if item.client is None or not item.client.gone]


def _answers(items: list[Any], called: list[Any], answers: Sequence[Any]) -> list[Any]:
    """An answer for each item: ClientGone for those that were not called."""
    by_item = dict(zip(map(id, called), answers, strict=True))
    return [by_item.get(id(item)) or ClientGone() for item in items]


def _error_answer(error: asyncpg.PostgresError, *, sent: bool) -> BaseException:
    """A lock that was not released in time is no bug: the call was rolled back."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        return OutcomeUnknown() if sent else Overloaded(LOCKED)
    return error


def _is_busy(answer: Answered | BaseException) -> bool:
    return not isinstance(answer, BaseException) and answer[0]["outcome"] == "busy"
