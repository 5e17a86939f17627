"""Start stop: start a part and wait for it, stop a part and wait for it. It decides nothing."""

import asyncio
import signal
from dataclasses import dataclass
from itertools import groupby

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part, Role
from florin.ops.fleet.timing import DEFAULT
from florin.ops.supervisor.launch import StartedProcess, launch_process, log_tail
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.system.processes import ProcessId

_POLL_S = 0.05


class PartEnded(Exception):
    """A part ended before it served, or while it served."""


@dataclass(frozen=True, slots=True)
class StopSignal:
    """One way to ask a part to end, and for how long to wait for it."""

    number: signal.Signals
    wait_s: float


_POLITE = (StopSignal(signal.SIGTERM, 10), StopSignal(signal.SIGKILL, 10))
_SERVING = (StopSignal(signal.SIGTERM, DEFAULT.stop_grace_s), StopSignal(signal.SIGKILL, 10))
# Nothing is sent to it any more: it need not wait for late arrivals, only finish what it has.
_DRAINED = (StopSignal(signal.SIGINT, DEFAULT.stop_grace_s), StopSignal(signal.SIGKILL, 10))
# It closes its port, lets go of idle connections and finishes what is in flight.
_DOOR = (
    StopSignal(signal.SIGUSR1, 3),
    StopSignal(signal.SIGTERM, 5),
    StopSignal(signal.SIGKILL, 10),
)
# Fast: sessions are ended, all is written. Immediate: like a crash, the log replays it.
_DATABASE = (
    StopSignal(signal.SIGINT, 30),
    StopSignal(signal.SIGQUIT, 5),
    StopSignal(signal.SIGKILL, 10),
)
STOPS: dict[Role, tuple[StopSignal, ...]] = {
    "balancer": _DOOR,
    "api": _SERVING,
    "worker": _SERVING,
    "sentinel": _POLITE,
    "valkey-replica": _POLITE,
    "valkey-primary": _POLITE,
    "postgres-replica": _DATABASE,
    "postgres-primary": _DATABASE,
}
_ORDER = tuple(STOPS)  # who takes requests goes first, who keeps the money goes last


def stop_order(fleet: Fleet) -> tuple[tuple[Part, ...], ...]:
    """Return the running parts in the order in which they stop; those of one role together."""
    running = [part for part in fleet.parts if part.process is not None and part.role in STOPS]
    running.sort(key=lambda part: _ORDER.index(part.role))
    return tuple(tuple(alike) for _, alike in groupby(running, key=lambda part: part.role))


def start_part(home: Home, want: PartSpec) -> StartedProcess:
    want.prepare()
    return launch_process(home, want.launch)


async def wait_until_ready(home: Home, want: PartSpec, started: StartedProcess) -> None:
    """Wait until it serves; raises Died when it ends before, Unable when it takes too long."""
    try:
        async with asyncio.timeout(want.ready_within_s):
            while True:
                if started.process is None or not processes.is_alive(started.process):
                    words = log_tail(home.log(want.name))
                    raise PartEnded(f"{want.name} ended ({started.ending()}): {words or 'no word'}")
                if await want.ready():
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise OperatorError(
            f"{want.name} did not serve within {want.ready_within_s:.0f} s; see"
            f" {home.log(want.name)}."
        ) from None


async def stop_process(
    process: ProcessId,
    role: Role,
    *,
    hurry: asyncio.Event | None = None,
    started: StartedProcess | None,
    drained: bool = False,
) -> None:
    """End a process: politely, then less so. `hurry` skips what waiting is left."""
    hurry = hurry or asyncio.Event()
    steps = _DRAINED if drained and role == "api" else STOPS[role]
    for step in steps:
        if not processes.send_signal(process, step.number):
            break
        ended = asyncio.ensure_future(processes.wait_gone(process))
        hurried = asyncio.ensure_future(hurry.wait())
        # Nobody is too hurried for the last word to be heard.
        waits = {ended} if step is steps[-1] else {ended, hurried}
        await asyncio.wait(waits, timeout=step.wait_s, return_when=asyncio.FIRST_COMPLETED)
        gone = ended.done()
        ended.cancel()
        hurried.cancel()
        if gone:
            break
    if started is not None:
        started.ending()  # reaped
    processes.reap_child(process)
