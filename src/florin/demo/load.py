"""Load: a busy merchant that sells, redeems, refunds, holds and issues thousands of cards in bulk,
all at the same time, so that the fleet scales its workers up and down again.

Uses only the public API; `look` reports the resource usage of the fleet.
"""

import asyncio
import json
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from typing import Any, Protocol

import httpx

from florin.demo.load_report import LoadReport, Sample
from florin.demo.walkthrough import DemoFailed

WAVE, CARDS, EVERY_S = 100, 2_500, 300.0  # jobs of a wave, cards of each job, interval
WAVES_MOST = 5  # of a long load: each wave needs two gigabytes of disk, with a replica
_ASKERS = 4
_PAUSE_S = 0.02  # between two sales: leaves CPU time to the workers
_SAMPLES_MOST = 600
_GONE_WITHIN_S = 900.0  # for the workers to stop after the work
_SERVER = 500
_SAY_EVERY_S = 10.0
_LEFT_S = 10.0  # for the queue to become empty after the last job
_REPEAT_S, _REPEAT_EVERY_S = 10.0, 0.25  # after a broken connection


class Taken(Protocol):
    """The result of `look`: see florin.ops.diagnostics.resource_usage."""

    @property
    def memory(self) -> Any: ...
    @property
    def workers(self) -> int: ...
    @property
    def connections(self) -> int | None: ...


Look = Callable[[], Awaitable[Taken]]


def main(
    *,
    bases: Sequence[str],
    api_key: str,
    program: str,
    look: Look,
    minutes: float | None = None,
    as_json: bool = False,
    wave: int = WAVE,
    cards: int = CARDS,
    every_s: float = EVERY_S,
) -> int:
    """Run `florin demo --load`; return the exit code: 0 only if no job was lost, memory did not
    grow and the ledger proof balances.
    """
    headers = {"Authorization": f"Bearer {api_key}"}
    until = "Ctrl-C" if minutes is None else f"{minutes:g} minutes are over"
    print(
        f"Selling, redeeming and issuing until {until}; see florin status --watch.", file=sys.stderr
    )
    if minutes is not None:
        every_s = max(every_s, minutes * 60 / WAVES_MOST)
    load = DemoLoad(program, look, wave=wave, cards=cards, every_s=every_s, minutes=minutes)
    try:
        asyncio.run(_run(load, bases, headers))
    except (DemoFailed, httpx.HTTPError) as error:
        print(f"The load stopped: {error!r}. See florin status.", file=sys.stderr)
        return 1
    print(json.dumps(load.report.document()) if as_json else load.report.text())
    return 0 if load.report.right else 1


async def _run(load: "DemoLoad", bases: Sequence[str], headers: dict[str, str]) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, load.stop)
    await load.run(bases, headers)


class DemoLoad:
    """One run."""

    def __init__(
        self,
        program: str,
        look: Look,
        *,
        wave: int,
        cards: int,
        every_s: float,
        minutes: float | None,
    ) -> None:
        self.report = LoadReport()
        self._program, self._look = program, look
        self._wave, self._cards, self._every_s, self._minutes = wave, cards, every_s, minutes
        self._jobs: list[str] = []
        self._stop = asyncio.Event()
        self._clients: Any = None
        self._begun = 0.0

    def stop(self) -> None:
        """End the load; when called again, do not wait for the remaining jobs."""
        self._stop.set()

    async def run(self, bases: Sequence[str], headers: dict[str, str]) -> None:
        """Run the load until its time is over or it is stopped; then check every job."""
        clients = [
            httpx.AsyncClient(base_url=f"{base}/api/v1", headers=headers, timeout=60)
            for base in bases
        ]
        self._clients, self._begun = cycle(clients), time.monotonic()
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._sell(), self._issue(), self._end()):
                    group.create_task(work)
            self.report.seconds = self._now()
            await self._settle()
            if self._minutes is not None:
                await self._see_them_go()
            self.report.balanced = (await self._ask("GET", "/ledger/proof"))["balanced"]
            if watching.done():  # a report without samples would look like a good one
                watching.result()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            for client in clients:
                await client.aclose()

    async def _end(self) -> None:
        if self._minutes is None:
            await self._stop.wait()
        elif not await self._stopped(self._minutes * 60):
            self._stop.set()

    async def _sell(self) -> None:
        """Sell, redeem, refund and hold in a loop."""
        found = self.report
        while not await self._stopped(_PAUSE_S):
            card = await self._ask("POST", "/cards", program=self._program, amount=2_000)
            found.sold += 1
            till = {"code": card["code"], "currency": card["currency"]}
            spent = await self._ask("POST", "/redemptions", **till, amount=750)
            found.redeemed += 1
            if found.sold % 5 == 0:
                await self._ask("POST", "/refunds", redemption=spent["id"], amount=250)
                found.refunded += 1
            if found.sold % 7 == 0:
                held = await self._ask("POST", "/holds", **till, amount=500)
                await self._ask("POST", f"/holds/{held['id']}/capture", amount=400)
                found.held += 1

    async def _issue(self) -> None:
        """Create a wave of jobs at once, and another one after `every_s`."""
        while True:
            left = iter(range(self._wave))
            await asyncio.gather(*(self._issue_some(left) for _ in range(_ASKERS)))
            if await self._stopped(self._every_s):
                return

    async def _issue_some(self, left: Any) -> None:
        for _ in left:
            if self._stop.is_set():
                return
            job = await self._ask(
                "POST", "/cards/bulk", program=self._program, amount=1_000, quantity=self._cards
            )
            self._jobs.append(job["id"])
            self.report.asked += 1
            self.report.cards_asked += self._cards

    async def _watch(self) -> None:
        """Sample the resource usage; print it when the number of workers changes, and regularly."""
        every_s, said_at, said = 1.0, -_SAY_EVERY_S, -1
        while True:
            taken = await self._look()
            found, now = self.report, self._now()
            memory = {name: round(mb, 1) for name, mb in taken.memory.items()}
            try:
                waiting = await self._waiting()
            except (DemoFailed, httpx.HTTPError):  # the sales report the same error
                waiting = 0
            found.samples.append(Sample(now, memory, taken.connections, taken.workers, waiting))
            if len(found.samples) > _SAMPLES_MOST:  # keep every other one
                found.samples, every_s = found.samples[::2], every_s * 2
            if taken.workers != said or now - said_at >= _SAY_EVERY_S:
                line = (
                    f"  {now:5.0f} s  {taken.workers} workers, {waiting} jobs waiting;"
                    f" {found.sold} sold, {found.cards_asked} requested in bulk"
                )
                print(line, file=sys.stderr)
                said, said_at = taken.workers, now
            await asyncio.sleep(every_s)

    async def _settle(self) -> None:
        """Wait until no job is left; then check that every job is complete."""
        self._stop.clear()
        print("  The load is over; waiting for the last jobs.", file=sys.stderr)
        for name in self._jobs:
            job = await self._ask("GET", f"/jobs/{name}")
            while job["state"] in {"queued", "running"} and not await self._stopped(0.5):
                job = await self._ask("GET", f"/jobs/{name}")
            self.report.cards_made += job["done"]
            self.report.finished += job["state"] == "finished"
            if (job["state"], job["done"]) != ("finished", self._cards):
                self.report.lost.append(f"{name}: {job['state']}, {job['done']} cards")
        # A job is marked as finished shortly before it leaves the queue.
        deadline = time.monotonic() + _LEFT_S
        while (left := await self._waiting()) and time.monotonic() < deadline:
            if await self._stopped(_REPEAT_EVERY_S):
                break
        self.report.left = left

    async def _see_them_go(self) -> None:
        before, deadline = self.report.workers[0], time.monotonic() + _GONE_WITHIN_S
        while self.report.workers[2] > before and time.monotonic() < deadline:
            if await self._stopped(0.5):
                return

    async def _waiting(self) -> int:
        queues = (await self._ask("GET", "/queues"))["data"]
        bulk = next(each for each in queues if each["name"] == "bulk")
        return bulk["waiting"] + bulk["active"] + bulk["delayed"]

    async def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Send a request; after a broken connection repeat it with the same idempotency key."""
        keyed = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        deadline = time.monotonic() + _REPEAT_S
        while True:
            client = next(self._clients)
            try:
                answer = await client.request(method, path, json=body or None, headers=keyed)
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                self.report.broken += 1
                await asyncio.sleep(_REPEAT_EVERY_S)
        if answer.is_error:
            raise DemoFailed(f"{path} answered {answer.status_code}: {answer.text}")
        document: dict[str, Any] = answer.json()
        return document

    async def _stopped(self, seconds: float) -> bool:
        """Sleep until `seconds` are over or the load is stopped; return whether it is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _now(self) -> float:
        return round(time.monotonic() - self._begun, 1)
