"""Outcome writer: writes the outcomes of a lane's attempts as they come, many in a transaction.

An outcome that is not written is an attempt that the next lane repeats: a transaction that the
database undid for a deadlock is written again, and the end waits for the one that runs.
"""

import asyncio
from collections.abc import Callable

import asyncpg

from florin.kit.observability import logging
from florin.kit.queue.job import QueuedJob
from florin.webhooks.outcomes import Outcome, write_outcomes

_WRITE_S = 0.05
_TRIES = 5
_log = logging.get_logger()


class OutcomeWriter:
    """The outcomes of a lane that are not in the database yet. `written` is called for each."""

    def __init__(self, job: QueuedJob, written: Callable[[Outcome], None]) -> None:
        self._job = job
        self._written = written
        self._outcomes: list[Outcome] = []
        self._ended = asyncio.Event()

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def end(self) -> None:
        """No more are added: `write_until_ended` returns once all are written."""
        self._ended.set()

    async def write_until_ended(self) -> None:
        """Write outcomes as they come. Raises LeaseLost."""
        while not self._ended.is_set():
            await self._write()
            try:
                async with asyncio.timeout(_WRITE_S):
                    await self._ended.wait()
            except TimeoutError:
                pass
        await self._write()

    async def _write(self) -> None:
        if not self._outcomes:
            return
        outcomes, self._outcomes = self._outcomes, []
        for left in reversed(range(_TRIES)):
            try:
                async with self._job.effect() as tx:
                    await write_outcomes(tx, outcomes)
                    await self._job.step(tx)
                break
            except asyncpg.DeadlockDetectedError:
                if not left:
                    raise
                _log.warning("outcomes of webhooks are written again", outcomes=len(outcomes))
        for each in outcomes:
            self._written(each)
