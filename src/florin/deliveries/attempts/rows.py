"""Rows: claims deliveries for an attempt and records its outcome, many in a transaction.

Jobs of the same time share transactions: each waits for a disk, and two for every message were what
limited a worker. A shared transaction waits for no lock. What it cannot have at once (a lease that
was lost, a row that another transaction changes) it leaves to the transaction of its job alone, as
it does a bounce, which has effects of its own; and all of it, if the database refuses it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from florin.deliveries.composing import MessageFacts, find_message_facts
from florin.deliveries.notices.subscriptions import notify_of_bounce
from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded
from florin.kit.observability import logging
from florin.kit.postgres.database import BROKEN, PoolTimeout, Row, Tx
from florin.kit.queue.job import JointEffect, QueuedJob

BATCH_MAX = 50
_PAUSE_S = 0.1
WAIT_MAX_S = 20.0  # for a turn: less than the time that a job has
_ACCOUNT_MAILS = ("invitation", "password_reset", "email_verification")
_log = logging.get_logger()

_LOCK = """
select d.merchant, d.id, d.generation from florin.delivery d
join unnest($1::uuid[], $2::uuid[], $3::integer[]) w (merchant, id, generation)
  on d.merchant = w.merchant and d.id = w.id and d.generation = w.generation
where d.state in ('due', 'sending') for update of d
"""
_CLAIM = """
update florin.delivery d set state = 'sending', attempts = d.attempts + 1,
  repeated = d.repeated + (d.state = 'sending')::integer, changed_at = clock_timestamp()
from unnest($1::uuid[], $2::uuid[], $3::integer[]) w (merchant, id, generation)
where d.merchant = w.merchant and d.id = w.id and d.generation = w.generation
  and d.state in ('due', 'sending')
returning d.*
"""
_RECORD = """
update florin.delivery d set state = w.state, failure = w.failure, changed_at = clock_timestamp(),
  sent_at = case when w.state = 'sent' then clock(d.merchant) else d.sent_at end,
  secret_sealed = case when w.erased then null else d.secret_sealed end,
  secret_until = case when w.erased then null else d.secret_until end
from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::boolean[])
  w (merchant, id, generation, state, failure, erased)
where d.merchant = w.merchant and d.id = w.id and d.generation = w.generation
  and d.state = 'sending'
"""


class DeliveryKey(NamedTuple):
    """A delivery, as it is to be sent: a request to send it again makes another generation."""

    merchant: UUID
    id: UUID
    generation: int


class Claimed(NamedTuple):
    """A delivery that an attempt may send, and what its message is about."""

    row: Row
    facts: MessageFacts


class Ended(NamedTuple):
    """The outcome of an attempt. `again_s`: when to try again."""

    state: str
    failure: str | None = None
    again_s: float | None = None


class _Claim(NamedTuple):
    job: QueuedJob
    key: DeliveryKey


class _Record(NamedTuple):
    job: QueuedJob
    key: DeliveryKey
    kind: str
    ended: Ended


class AttemptRows:
    """The rows of the attempts of a process. Both raise LeaseLost."""

    def __init__(self) -> None:
        self._claims: Batcher[_Claim, Claimed | None] = Batcher(
            _claim_together, batch_max=BATCH_MAX, in_flight_max=1, wait_max_s=WAIT_MAX_S
        )
        self._records: Batcher[_Record, bool] = Batcher(
            _record_together, batch_max=BATCH_MAX, in_flight_max=1, wait_max_s=WAIT_MAX_S
        )

    async def claim(self, job: QueuedJob, key: DeliveryKey) -> Claimed | None:
        """Mark a delivery as being sent. None: it was sent or cancelled, or another job has it."""
        claimed = await self._claims.submit(_Claim(job, key))
        if claimed is not None:
            return claimed
        async with job.effect() as tx:
            return (await _claim(tx, [key])).get(key)

    async def record(self, job: QueuedJob, key: DeliveryKey, kind: str, ended: Ended) -> None:
        """Write the outcome of an attempt; with it the job ends, unless it tries again.

        While no connection is free it waits for the rest of the job's time: nothing was written
        yet, and a message whose outcome is lost is sent again.
        """
        item = _Record(job, key, kind, ended)
        while True:
            try:
                return await self._record(item)
            except (PoolTimeout, Overloaded) as error:
                _log.info("an outcome waits for a connection", reason=type(error).__name__)
                await asyncio.sleep(_PAUSE_S)  # a pool may refuse at once

    async def _record(self, item: _Record) -> None:
        job, key, _, ended = item
        if ended.state != "bounced" and await self._records.submit(item):
            return
        async with job.effect(last=ended.again_s is None) as tx:
            await tx.run(_RECORD, *_columns([item]))
            if ended.state == "bounced":
                await notify_of_bounce(tx, key.merchant, key.id)


async def _claim_together(items: list[_Claim]) -> Sequence[Claimed | None]:
    claimed: dict[DeliveryKey, Claimed] = {}

    async def claim(effect: JointEffect) -> None:
        held = {job.fence for job in effect.held}
        keys = [item.key for item in items if item.job.fence in held]
        free = await _lock(effect.tx, keys)
        claimed.update(await _claim(effect.tx, [key for key in keys if key in free]))

    if not await _have_effect([item.job for item in items], claim):
        return [None] * len(items)
    return [claimed.get(item.key) for item in items]


async def _record_together(items: list[_Record]) -> Sequence[bool]:
    recorded: set[int] = set()

    async def record(effect: JointEffect) -> None:
        held = {job.fence for job in effect.held}
        keys = [item.key for item in items if item.job.fence in held]
        free = await _lock(effect.tx, keys)
        written = [item for item in items if item.job.fence in held and item.key in free]
        if written:
            await effect.tx.run(_RECORD, *_columns(written))
        effect.last.extend(item.job for item in written if item.ended.again_s is None)
        recorded.update(item.job.fence for item in written)

    if not await _have_effect([item.job for item in items], record):
        return [False] * len(items)
    return [item.job.fence in recorded for item in items]


async def _have_effect(
    jobs: Sequence[QueuedJob], run: Callable[[JointEffect], Awaitable[None]]
) -> bool:
    """Whether the transaction committed; if not, nothing happened."""
    try:
        async with jobs[0].joint_effect(jobs) as effect:
            await run(effect)
    except BROKEN:
        raise
    except asyncpg.PostgresError as error:
        _log.info("deliveries are written one by one", reason=f"{error}"[:200], count=len(jobs))
        return False
    return True


async def _lock(tx: Tx, keys: Sequence[DeliveryKey]) -> set[DeliveryKey]:
    """The deliveries whose rows no other transaction has."""
    if not keys:
        return set()
    rows = await tx.all(f"{_LOCK} skip locked", *_columns_of(keys))
    return {_key_of(row) for row in rows}


async def _claim(tx: Tx, keys: Sequence[DeliveryKey]) -> dict[DeliveryKey, Claimed]:
    if not keys:
        return {}
    rows = await tx.all(_CLAIM, *_columns_of(keys))
    facts = await find_message_facts(tx, rows)
    return {_key_of(row): Claimed(row, each) for row, each in zip(rows, facts, strict=True)}


def _key_of(row: Row) -> DeliveryKey:
    """With the generation: jobs of an older and of the present one may share a transaction."""
    return DeliveryKey(row["merchant"], row["id"], row["generation"])


def _columns_of(keys: Sequence[DeliveryKey]) -> list[list[object]]:
    return [list(column) for column in zip(*keys, strict=True)]


def _columns(items: Sequence[_Record]) -> list[list[object]]:
    """The arrays of _RECORD."""
    more = [
        (
            item.ended.state,
            item.ended.failure,
            item.ended.again_s is None and item.kind in _ACCOUNT_MAILS,
        )
        for item in items
    ]
    keys = _columns_of([item.key for item in items])
    return [*keys, *(list(column) for column in zip(*more, strict=True))]
