"""Start stop: start a part and wait until it serves; stop a part and wait until it has ended."""

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
    """A part ended before or while it served."""


@dataclass(frozen=True, slots=True)
class StopSignal:
    """A signal that stops a part, and how long to wait for its end."""

    number: signal.Signals
    wait_s: float


_POLITE = (StopSignal(signal.SIGTERM, 10), StopSignal(signal.SIGKILL, 10))
_SERVING = (StopSignal(signal.SIGTERM, DEFAULT.stop_grace_s), StopSignal(signal.SIGKILL, 10))
# A drained instance gets no requests: it need not wait for late ones, only finish its own.
_DRAINED = (StopSignal(signal.SIGINT, DEFAULT.stop_grace_s), StopSignal(signal.SIGKILL, 10))
# HAProxy closes its ports and idle connections and finishes requests in flight.
_BALANCER = (
    StopSignal(signal.SIGUSR1, 3),
    StopSignal(signal.SIGTERM, 5),
    StopSignal(signal.SIGKILL, 10),
)
# SIGINT: fast shutdown, sessions end and everything is written. SIGQUIT: immediate shutdown, like a
# crash; the next start replays the log.
_DATABASE = (
    StopSignal(signal.SIGINT, 30),
    StopSignal(signal.SIGQUIT, 5),
    StopSignal(signal.SIGKILL, 10),
)
STOPS: dict[Role, tuple[StopSignal, ...]] = {
    "balancer": _BALANCER,
    "operator": _POLITE,  # early: what an operator stops is no alert
    "api": _SERVING,
    "worker": _SERVING,
    "mailbox": _POLITE,  # after the workers, which send to it
    "sentinel": _POLITE,
    "valkey-replica": _POLITE,
    "valkey-primary": _POLITE,
    "postgres-replica": _DATABASE,
    "postgres-primary": _DATABASE,
}
_ORDER = tuple(STOPS)  # the balancer stops first, the database last


def stop_order(fleet: Fleet) -> tuple[tuple[Part, ...], ...]:
    """Return the running parts in stop order, grouped by role."""
    running = [part for part in fleet.parts if part.process is not None and part.role in STOPS]
    running.sort(key=lambda part: _ORDER.index(part.role))
    return tuple(tuple(alike) for _, alike in groupby(running, key=lambda part: part.role))


def start_part(home: Home, want: PartSpec) -> StartedProcess:
    want.prepare()
    return launch_process(home, want.launch)


async def wait_until_ready(home: Home, want: PartSpec, started: StartedProcess) -> None:
    """Wait until a part serves. Raises PartEnded when it ends first, OperatorError on time-out."""
    try:
        async with asyncio.timeout(want.ready_within_s):
            while True:
                if started.process is None or not processes.is_alive(started.process):
                    tail = log_tail(home.log(want.name)) or "its log is empty"
                    raise PartEnded(f"{want.name} ended ({started.ending()}): {tail}")
                if await want.ready():
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise OperatorError(
            f"{want.name} was not ready within {want.ready_within_s:.0f} s; see"
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
    """Stop a process with increasingly strong signals. `hurry` skips the remaining waits."""
    hurry = hurry or asyncio.Event()
    steps = _DRAINED if drained and role == "api" else STOPS[role]
    for step in steps:
        if not processes.send_signal(process, step.number):
            break
        ended = asyncio.ensure_future(processes.wait_gone(process))
        hurried = asyncio.ensure_future(hurry.wait())
        # The wait after the last signal is never skipped.
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
