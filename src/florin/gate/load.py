"""Load: a mixed load of money and reads through the balancer, with a log on the client's side.

Every request is valid and none is repeated, so every answer that is not a success is a failure.
"""

import asyncio
import contextlib
import random
import time

from florin.gate.client import CheckClient, CheckFailed
from florin.gate.load_log import LoadLog
from florin.gate.merchant import CheckMerchant
from florin.gate.till import CheckTill

RATE = 40.0  # steps per second at most, of one to two requests
TILLS = 8
_ANSWERED_WITHIN_S = 10.0  # the deployment ends this process 15 s after it asked it to end


class CheckLoad:
    """The load; it can be paused, so that the ledger can be compared with the log."""

    def __init__(
        self, client: CheckClient, merchant: CheckMerchant, *, seed: int, rate: float = RATE
    ) -> None:
        self.log = LoadLog()
        self._rate = rate
        self._tills = [
            CheckTill(client, merchant, self.log, random.Random(f"{seed}-{number}"))  # noqa: S311 -- not a secret
            for number in range(TILLS)
        ]
        self._running = asyncio.Event()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, or go on after a pause."""
        self._running.set()
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._drive(till, number / self._rate))
                for number, till in enumerate(self._tills)
            ]

    async def pause(self) -> None:
        """Send nothing more; return once every request has its outcome.

        Raises CheckFailed if a till ended: it got an answer that is not as documented.
        """
        self._running.clear()
        await self._idle.wait()
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise CheckFailed(f"an answer was not as documented: {error!r}")

    async def stop(self) -> None:
        """End once what was sent is answered: a card without its answer is not in the log."""
        self._running.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, requests: int, within_s: float) -> None:
        """Wait until the log has so many requests, at most `within_s`."""
        deadline = time.monotonic() + within_s
        while self.log.requests < requests and time.monotonic() < deadline:  # noqa: ASYNC110 -- many tills count
            await asyncio.sleep(0.05)

    async def _drive(self, till: CheckTill, delay_s: float) -> None:
        due = time.monotonic() + delay_s
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._running.wait()
            # A stalled till does not catch up: the rate is an upper bound.
            due = max(due + TILLS / self._rate, time.monotonic())
            self._busy += 1
            self._idle.clear()
            try:
                await till.step()
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
