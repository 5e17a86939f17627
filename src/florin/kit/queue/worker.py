"""Worker: claims jobs, runs them, renews their leases, and stops without losing one.

Concurrent loops: claim jobs for each group of slots, run them, write outcomes, send heartbeats,
move the outbox into the queue, and maintain (expired leases, scheduled jobs). Each survives a
database outage. Heartbeats continue until the last job has ended, also while stopping.
"""

import asyncio
import contextlib
import faulthandler
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from florin.kit import ids
from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, Row
from florin.kit.queue import maintenance
from florin.kit.queue.config import WorkPlan
from florin.kit.queue.job import Continue, QueuedJob
from florin.kit.queue.results import ResultWriter
from florin.kit.queue.runner import SlotRunners
from florin.kit.queue.slots import JobSlots, SlotGroup
from florin.kit.valkey.notifications import Notifier

FINISH_WITHIN_S = 25.0  # of a stop, for jobs that run
WRITE_WITHIN_S = 5.0  # and for their outcomes
HUNG_S = 20.0  # a blocked event loop ends the process after this: its leases have expired anyway
_AWAY_S = 0.5
_MOVE_MOST = 2000
_AWAY = (*BROKEN, PoolTimeout, asyncpg.PostgresError)

_CLAIM = "select * from queue_claim($1, $2, $3, $4, $5, $6, $7)"
_BEAT = """
insert into florin.queue_worker (id, name, release, concurrency, busy, stopping)
values ($1, $2, $3, $4, $5, $6)
on conflict (id) do update set busy = excluded.busy, stopping = excluded.stopping,
  heartbeat_at = clock_timestamp()
"""

_log = logging.get_logger()


class QueueWorker:
    """One worker. `context` is passed to job functions; `alone` runs a job in its own process."""

    def __init__(
        self,
        plan: WorkPlan,
        *,
        control: Database,
        database: Database,
        context: Any,
        name: str,
        release: str,
        concurrency: int,
        notifier: Notifier,
        alone: Callable[[QueuedJob], Awaitable[Continue | None]],
    ) -> None:
        self.id: UUID = ids.new_id()
        self._plan = plan
        self._queues = {queue.name: queue for queue in plan.queues}
        self._control = control
        self._database = database
        self._name = name
        self._release = release
        self._notifier = notifier
        self._slots = JobSlots(self._queues, concurrency, notifier.notify_local)
        self._outcomes = ResultWriter(control, self._queues, self._slots)
        self._kinds = [
            (name, kind.version) for queue in plan.queues for name, kind in queue.kinds.items()
        ]
        self._stop = asyncio.Event()
        self._ticks: dict[str, datetime] = {}
        self._runners = SlotRunners(
            self._queues, self._slots, self._outcomes, context=context, alone=alone
        )
        self.unresponsive = 0  # jobs that ignored cancellation

    def stop(self) -> None:
        """Claim no more jobs, finish the running ones."""
        self._stop.set()
        self._notifier.notify_local()
        for group in self._slots.groups:
            group.room.set()

    async def run(self) -> None:
        """Run jobs until `stop`; return when no job is held any more."""
        await self._forever(self._introduce, once=True)
        self._runners.start()
        # A loop for each group: while one waits for a job it does not see room in another.
        claiming = (partial(self._take, group) for group in self._slots.groups)
        steps = (*claiming, self._move, self._tend)
        taking = [asyncio.ensure_future(self._forever(step)) for step in steps]
        keeping = [
            asyncio.ensure_future(self._outcomes.write_forever()),
            asyncio.ensure_future(self._forever(self._beat)),
        ]
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([*taking, *keeping, stopped], return_when=asyncio.FIRST_COMPLETED)
        self.stop()  # also if a bug ended a loop: then the process ends with its exception
        await asyncio.wait(taking)
        await self._finish()
        for task in (*keeping, stopped):
            task.cancel()
        self.unresponsive = await self._runners.end()
        ended = await asyncio.gather(*taking, *keeping, return_exceptions=True)
        faulthandler.cancel_dump_traceback_later()
        for each in ended:
            if isinstance(each, Exception):
                raise each

    # -- loops -------------------------------------------------------------------------------

    async def _forever(self, step: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
        """Repeat a step; during a database outage, retry."""
        keeps = step == self._beat
        while keeps or not self._stop.is_set():
            try:
                await step()
                if once:
                    return
            except _AWAY as error:
                name = getattr(step, "func", step).__name__
                _log.warning("the database is away", during=name, error=repr(error))
                await asyncio.sleep(_AWAY_S)

    async def _introduce(self) -> None:
        await maintenance.declare_queues(self._control, self._plan)
        await self._say_hello()

    async def _take(self, group: SlotGroup) -> None:
        """Claim as many jobs as a group has free slots, or wait."""
        words = self._notifier.words  # a notification during the claim must end the wait below
        counts = self._slots.wanted_count(group)
        if not counts:
            group.room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await group.room.wait()
            return
        rows = await self._control.all(
            _CLAIM,
            self.id,
            list(counts),
            list(counts.values()),
            max(counts.values()),
            [kind for kind, _ in self._kinds],
            [version for _, version in self._kinds],
            self._plan.lease,
        )
        for row in sorted(rows, key=_turn):
            job = QueuedJob(row, self._database, lease=self._plan.lease, stopping=self._stop.is_set)
            metrics.queue_wait_seconds.labels(job.queue).observe(max(0.0, job.waited_s))
            self._slots.take(job)
        if not rows:
            await self._notifier.wait(words)

    async def _move(self) -> None:
        """Move rows of the outbox into the queue."""
        words = self._notifier.words
        followers = self._plan.followers
        taken, put = (
            await self._control.all(
                "select taken, put from queue_relay($1, $2, $3, $4, $5)",
                [follower.topic.replace("*", "%") for follower in followers],
                [follower.queue for follower in followers],
                [follower.kind for follower in followers],
                [self._queues[each.queue].kinds[each.kind].version for each in followers],
                _MOVE_MOST,
            )
        )[0]
        if put:
            self._notifier.notify_all()
        if not taken:
            await self._notifier.wait(words)

    async def _tend(self) -> None:
        try:
            await maintenance.maintain(self._control, self._plan, self._ticks)
        except _AWAY:
            # After an outage all leases may have expired: live workers renew theirs first.
            await self._pause(self._plan.lease.total_seconds() / 2)
            raise
        await self._pause(maintenance.EVERY_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _beat(self) -> None:
        """Renew all leases, write the heartbeat and the counts, and reset the watchdog."""
        with contextlib.suppress(RuntimeError):  # no memory for its thread: at the next heartbeat
            faulthandler.dump_traceback_later(HUNG_S, exit=True)
        self._runners.leave_overdue()
        held = list(self._slots.held.values())
        lost = await self._control.all(
            "select fence from queue_heartbeat($1, $2, $3) as fence",
            [job.id for job in held],
            [job.fence for job in held],
            self._plan.lease,
        )
        for row in lost:
            self._slots.lose(row["fence"])
        await self._say_hello()
        await self._outcomes.count()
        await asyncio.sleep(self._plan.lease.total_seconds() / 4)

    async def _say_hello(self) -> None:
        busy = self._slots.running
        metrics.queue_busy.set(busy)
        async with self._control.connection() as connection:
            await connection.execute(
                _BEAT,
                self.id,
                self._name,
                self._release,
                self._slots.count,
                busy,
                self._stop.is_set(),
            )

    # -- stopping ----------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Release jobs that did not start, finish the running ones, write outcomes."""
        _log.info("stopping", running=self._slots.running)
        with contextlib.suppress(*_AWAY):
            await self._outcomes.give_back(self._slots.drop_backlog())
        await _until(lambda: not self._slots.running, FINISH_WITHIN_S)
        self._runners.late = True
        self._slots.interrupt()
        await _until(lambda: not self._slots.running and not self._outcomes.waiting, WRITE_WITHIN_S)
        with contextlib.suppress(*_AWAY):
            await self._outcomes.give_back(list(self._slots.held.values()))
            await self._outcomes.count()
            async with self._control.connection() as connection:
                await connection.execute("delete from florin.queue_worker where id = $1", self.id)


def _turn(row: Row) -> tuple[int, int, float, int]:
    """Sort key: the order in which the database claimed the jobs."""
    return -row["priority"], row["place"], -row["waited_s"], row["id"]


async def _until(true: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:  # noqa: ASYNC110 -- many things end
        await asyncio.sleep(0.02)
