"""Faults: the ways in which a benchmark takes the primary away from a fleet."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.system import processes
from florin.ops.system.console import OperatorError

CUT_OFF_S = 0.3  # how long nothing reaches the replicas any more, before the primary is killed
_SENDER = "walsender"


def find_primary(home: Home) -> Part:
    """Who is the primary just now, and runs. Raises OperatorError."""
    for part in observe_fleet(home).of("postgres-primary"):
        if part.process is not None:
            return part
    raise OperatorError(f"No primary runs in {home.path}.")


def process_tree(pid: int) -> list[int]:
    """A process and its children: a signal to a postmaster leaves them running."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *(int(each) for each in children)]


def wal_senders(pid: int) -> list[int]:
    """The processes of a primary that send its log to the replicas."""
    return [each for each in process_tree(pid) if _SENDER in " ".join(processes.command_line(each))]


def is_complete(home: Home, replicas: int) -> bool:
    """Whether a primary serves, and as many replicas of it."""
    parts = [part for part in observe_fleet(home).parts if part.name.startswith("postgres")]
    roles = Counter(part.role for part in parts if part.state == "ready" and part.process)
    return roles == Counter({"postgres-primary": 1, "postgres-replica": replicas})


async def kill_server(pid: int) -> None:
    """The postmaster dies; what it started notices and ends."""
    os.kill(pid, signal.SIGKILL)


async def freeze_server(pid: int) -> None:
    """All of it stands still, and could wake up at any time."""
    _stop(process_tree(pid))


async def cut_off_replicas(pid: int) -> None:
    """The replicas hear nothing more; a while later it is killed.

    Whatever it acknowledged in between is on no other disk, so it must acknowledge nothing.
    """
    _stop(wal_senders(pid))
    await asyncio.sleep(CUT_OFF_S)
    os.kill(pid, signal.SIGKILL)


def _stop(numbers: Iterable[int]) -> None:
    for each in numbers:
        with contextlib.suppress(ProcessLookupError):  # a connection's process ends when it likes
            os.kill(each, signal.SIGSTOP)


Lose = Callable[[int], Awaitable[None]]
LOSSES: dict[str, Lose] = {
    "killed": kill_server,
    "frozen": freeze_server,
    "cut off": cut_off_replicas,
}
