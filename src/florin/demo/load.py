"""Load: a busy shop that sells, redeems, refunds, holds, and asks for cards by the thousand,
all beside each other, so that workers come with the work and go after it.

Knows only the public interface; what the fleet takes meanwhile is told by `look`.
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

WAVE, CARDS, EVERY_S = 100, 2_500, 300.0  # jobs of a wave, cards of each, and how often one comes
WAVES_MOST = 5  # of a long load: what one makes takes two gigabytes, with a replica
_ASKERS = 4
_PAUSE_S = 0.02  # between two sales: the machine is the workers', too
_SAMPLES_MOST = 600
_GONE_WITHIN_S = 900.0  # for workers to go, after the work
_SERVER = 500
_SAY_EVERY_S = 10.0
_LEFT_S = 10.0  # for the queue to be empty, after the last job
_REPEAT_S, _REPEAT_EVERY_S = 10.0, 0.25  # after a connection broke


class Taken(Protocol):
    """What `look` tells: see florin.ops.diagnostics.resource_usage."""

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
    """Serve `florin demo --load`; return the exit code: 0 only when no job was lost, nothing grew,
    and the books balance.
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
    print(json.dumps(load.found.document()) if as_json else load.found.text())
    return 0 if load.found.right else 1


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
        self.found = LoadReport()
        self._program, self._look = program, look
        self._wave, self._cards, self._every_s, self._minutes = wave, cards, every_s, minutes
        self._jobs: list[str] = []
        self._stop = asyncio.Event()
        self._clients: Any = None
        self._begun = 0.0

    def stop(self) -> None:
        """End the load; a second time: do not wait for what is left of it."""
        self._stop.set()

    async def run(self, bases: Sequence[str], headers: dict[str, str]) -> None:
        """Load until it is time or told to stop; see what became of all that was asked for."""
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
            self.found.seconds = self._now()
            await self._settle()
            if self._minutes is not None:
                await self._see_them_go()
            self.found.balanced = (await self._ask("GET", "/ledger/proof"))["balanced"]
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
        """What a till does, over and over."""
        found = self.found
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
        """A wave of jobs at once, and again after a while."""
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
            self.found.asked += 1
            self.found.cards_asked += self._cards

    async def _watch(self) -> None:
        """Write down what the fleet takes; say it when workers come or go, and now and then."""
        every_s, said_at, said = 1.0, -_SAY_EVERY_S, -1
        while True:
            taken = await self._look()
            found, now = self.found, self._now()
            memory = {name: round(mb, 1) for name, mb in taken.memory.items()}
            try:
                waiting = await self._waiting()
            except (DemoFailed, httpx.HTTPError):  # who sells finds out, too
                waiting = 0
            found.samples.append(Sample(now, memory, taken.connections, taken.workers, waiting))
            if len(found.samples) > _SAMPLES_MOST:  # every other one, and half as often
                found.samples, every_s = found.samples[::2], every_s * 2
            if taken.workers != said or now - said_at >= _SAY_EVERY_S:
                line = (
                    f"  {now:5.0f} s  {taken.workers} workers, {waiting} jobs wait;"
                    f" {found.sold} sold, {found.cards_asked} asked for in bulk"
                )
                print(line, file=sys.stderr)
                said, said_at = taken.workers, now
            await asyncio.sleep(every_s)

    async def _settle(self) -> None:
        """Wait until nothing waits; then every job must be what was asked for."""
        self._stop.clear()
        print("  That was the load; waiting for the last jobs.", file=sys.stderr)
        for name in self._jobs:
            job = await self._ask("GET", f"/jobs/{name}")
            while job["state"] in {"queued", "running"} and not await self._stopped(0.5):
                job = await self._ask("GET", f"/jobs/{name}")
            self.found.cards_made += job["done"]
            self.found.finished += job["state"] == "finished"
            if (job["state"], job["done"]) != ("finished", self._cards):
                self.found.lost.append(f"{name}: {job['state']}, {job['done']} cards")
        # A job is finished a moment before the queue knows.
        deadline = time.monotonic() + _LEFT_S
        while (left := await self._waiting()) and time.monotonic() < deadline:
            if await self._stopped(_REPEAT_EVERY_S):
                break
        self.found.left = left

    async def _see_them_go(self) -> None:
        before, deadline = self.found.workers[0], time.monotonic() + _GONE_WITHIN_S
        while self.found.workers[2] > before and time.monotonic() < deadline:
            if await self._stopped(0.5):
                return

    async def _waiting(self) -> int:
        queues = (await self._ask("GET", "/queues"))["data"]
        bulk = next(each for each in queues if each["name"] == "bulk")
        return bulk["waiting"] + bulk["active"] + bulk["delayed"]

    async def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask once; where the connection breaks, again with the same key, as any caller should."""
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
                self.found.broken += 1
                await asyncio.sleep(_REPEAT_EVERY_S)
        if answer.is_error:
            raise DemoFailed(f"{path} answered {answer.status_code}: {answer.text}")
        document: dict[str, Any] = answer.json()
        return document

    async def _stopped(self, seconds: float) -> bool:
        """Sleep, unless it is time to stop; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _now(self) -> float:
        return round(time.monotonic() - self._begun, 1)
