"""Supervisor: keep the wanted parts running, and record what runs."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet
from florin.ops.supervisor import hot_swap, start_stop
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.process_table import ProcessTable
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.state_store import FleetStateStore
from florin.ops.supervisor.watchdog import Watchdog, cancelled
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say
from florin.ops.system.processes import ProcessId

_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_WINDOW_S = 60.0
_RETRY_S = 30.0  # of a failed part: the cause may be gone by then
_ASK_EVERY_S = 3.0
_SILENCES = 5  # unanswered checks in a row: the part is unresponsive


def restart_delay(deaths: Sequence[float], now: float) -> float | None:
    """Return the seconds to wait before the next start; None after too many deaths in a minute."""
    recent = [death for death in deaths if now - death < _WINDOW_S]
    return _PAUSES_S[len(recent) - 1] if len(recent) <= len(_PAUSES_S) else None


class Supervisor:
    """The fleet's parts: one task per part waits for the end of its process and restarts it."""

    def __init__(self, home: Home, release: str) -> None:
        self.home = home
        self.state = FleetStateStore(home, release)
        self.hurry = asyncio.Event()  # set: all remaining processes are stopped at once
        self._processes = ProcessTable(self.state, self.hurry)
        self._wanted: dict[str, PartSpec] = {}
        self._deaths: dict[str, deque[float]] = {}
        self._asked: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._relieved: list[ProcessId] = []
        self.watchdog = Watchdog()
        self._before = {part.process for part in self.fleet.parts}

    @property
    def fleet(self) -> Fleet:
        """The state of all parts at this moment."""
        return self.state.fleet

    def adopt(self, want: PartSpec) -> None:
        """Start to watch a part that already runs."""
        part = self.fleet.part(want.name)
        assert part is not None
        state = "draining" if part.drained else "ready"
        role = want.role_now() if want.role_now is not None else want.role
        part = replace(part, address=want.address, operations=want.operations, wiring=want.wiring)
        self.state.record(replace(part, role=role, state=state))
        self._watch(want)

    async def start(self, want: PartSpec, *, drained: bool = False) -> None:
        """Start a part and watch it from then on. Raises when it does not become ready.

        A part that fails to start is stopped. `drained`: the balancer sends it no requests yet.
        """
        await self.stop(want.name)  # its own task may be about to restart it
        try:
            await self._processes.start(want, restarts=0, drained=drained)
        except BaseException as error:
            await self._processes.abandon(want, str(error))
            raise
        self._watch(want)

    async def start_all(
        self, wanted: Sequence[PartSpec], *, drained: bool = False, hold_s: float = 0.0
    ) -> None:
        """Start parts at the same time and wait `hold_s` once all serve. Raises as `start` does.

        After a failure or cancellation, parts that never served are forgotten; see their logs.
        """
        tasks = [asyncio.create_task(self.start(want, drained=drained)) for want in wanted]
        try:
            await asyncio.gather(*tasks)
            await asyncio.sleep(hold_s)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for want in wanted:
                part = self.fleet.part(want.name)
                if part is not None and part.process is None:
                    self.state.forget(want.name)
            raise

    async def stop(self, name: str) -> None:
        """Stop a part and stop watching it."""
        for task in self._tasks.pop(name, ()):
            task.cancel()
        self._wanted.pop(name, None)
        await self._processes.stop(name)

    async def restart(self, name: str) -> None:
        """Restart one part; return once its new process serves."""
        part = self.fleet.part(name)
        if part is None or name not in self._wanted:
            raise OperatorError(f"Unknown part {name}; choose one of: {', '.join(self._wanted)}.")
        if await self.swap(self._wanted[name]):
            return
        self._asked[name].set()
        if part.process is not None:
            await self._processes.end_process(part)
        async with asyncio.timeout(self._wanted[name].ready_within_s + 10):
            while True:
                now = self.fleet.part(name)
                if now and now.state == "ready" and now.process not in (None, part.process):
                    return
                await asyncio.sleep(0.05)

    async def swap(self, want: PartSpec) -> bool:
        """Start the next process while the current one runs; the current one finishes and ends.

        Returns False where that is not possible: the current process keeps running.
        """
        part, before = self.fleet.part(want.name), self._wanted.get(want.name)
        if part is None or part.process is None or want.relief is None:
            return False
        for task in self._tasks.pop(want.name, ()):
            task.cancel()
        swapped = None
        try:
            swapped = await hot_swap.swap_part(self.home, part, want)
        finally:
            if swapped is not None:
                self._relieved.append(part.process)
                self._processes.replace_process(*swapped)
                self._watch(want)
            elif before is not None:
                self._watch(before)
        return swapped is not None

    async def stop_all(self, *, spare_adopted: bool = False) -> None:
        """Stop every part in order.

        `spare_adopted`: keep the parts that ran before this supervisor, when its start failed.
        """
        self.state.tolerates_failures = True  # from here on nothing may prevent the stop
        for task in (tasks := [task for several in self._tasks.values() for task in several]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in self.fleet.of("api"):
            if not spare_adopted:
                self.state.set_drained(part.name, drained=True)  # the balancer stops first
        for alike in start_stop.stop_order(self.fleet):
            chosen = [p for p in alike if not (spare_adopted and p.process in self._before)]
            await asyncio.gather(*(self._stop(part.name) for part in chosen))
            for process in self._relieved:  # replaced processes that still finish their requests
                processes.send_signal(process, signal.SIGTERM)
        me = self.fleet.part("supervisor")
        if me is not None:
            self.state.record(me.stopped())

    async def _stop(self, name: str) -> None:
        begun = time.monotonic()
        await self.stop(name)
        say(f"Stopped {name}: {time.monotonic() - begun:.1f} s")

    def _watch(self, want: PartSpec) -> None:
        self._wanted[want.name] = want
        self._deaths[want.name] = deque(maxlen=len(_PAUSES_S) + 1)
        self._asked[want.name] = asyncio.Event()
        tasks = [self.watchdog.watch(f"restart {want.name}", partial(self._keep_running, want))]
        if want.alive is not None:
            watch = self.watchdog.watch
            tasks.append(watch(f"liveness {want.name}", partial(self._check_liveness, want)))
        self._tasks[want.name] = tasks

    async def _check_liveness(self, want: PartSpec) -> None:
        """Kill a part that runs but does not answer; `_keep_running` then restarts it."""
        assert want.alive is not None
        silences, asked = 0, None
        while True:
            await asyncio.sleep(_ASK_EVERY_S)
            part = self.fleet.part(want.name)
            if part is None or part.process is None or part.state != "ready":
                continue
            silences = silences + 1 if part.process == asked else 0
            asked = part.process
            if await want.alive():
                silences = 0
            elif silences >= _SILENCES:
                say(
                    f"{want.name} failed {silences} liveness checks in a row; killing it so that it"
                    " restarts."
                )
                processes.send_signal(part.process, signal.SIGKILL)

    async def _keep_running(self, want: PartSpec) -> None:
        """Wait until the process ends, then start it again, for as long as the part is wanted."""
        while True:
            part = self.fleet.part(want.name)
            if part is not None and part.process is not None:
                await processes.wait_gone(part.process)
            if not self._asked[want.name].is_set():
                await self._record_exit(want)
            self._asked[want.name].clear()
            part = self.fleet.part(want.name)  # its state at the time of death, not of its start
            restarts = 1 if part is None else part.restarts + 1
            try:
                drained = bool(part and part.drained)
                await self._processes.start(want, restarts=restarts, drained=drained)
            except (PartEnded, OperatorError) as error:
                await self._processes.abandon(want, str(error))
            except BaseException as error:
                if not cancelled(error):
                    await self._processes.abandon(want, repr(error))
                raise  # the watchdog reports it and restarts this task
            else:
                say(f"{want.name} serves again.")

    async def _record_exit(self, want: PartSpec) -> None:
        """Record the end of a process, and wait until the next start is due."""
        ending = self._processes.reap(want.name)
        deaths = self._deaths[want.name]
        deaths.append(time.monotonic())
        wait_s = restart_delay(deaths, time.monotonic())
        part = self.fleet.part(want.name)
        assert part is not None
        # The note of a running part is no failure.
        note = (part.note if part.process is None else "") or f"ended ({ending})"
        if wait_s is None:
            say(
                f"{want.name} has failed: it ended {len(deaths)} times within a minute ({note})."
                f" See {self.home.log(want.name)}. The next attempt is in {_RETRY_S:.0f} s; to try"
                f" at once, run florin restart {want.name}."
            )
            self.state.record(replace(part.stopped(note), state="failed"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._asked[want.name].wait()
            return
        say(f"{want.name} {note}; restarting it{f' in {wait_s:g} s' if wait_s else ''}.")
        self.state.record(part.stopped(note))
        await asyncio.sleep(wait_s)
