"""Faults: the ways in which a benchmark makes the primary of a fleet fail."""

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

CUT_OFF_S = 0.3  # how long the replicas are disconnected before the primary is killed
_SENDER = "walsender"


def find_primary(home: Home) -> Part:
    """Return the running primary. Raises OperatorError when there is none."""
    for part in observe_fleet(home).of("postgres-primary"):
        if part.process is not None:
            return part
    raise OperatorError(f"No PostgreSQL primary runs in {home.path}; start it with florin up.")


def process_tree(pid: int) -> list[int]:
    """Return a process and its children, which do not get a signal to their postmaster."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *(int(each) for each in children)]


def wal_senders(pid: int) -> list[int]:
    """Return the processes of a primary that send its log to the replicas."""
    return [each for each in process_tree(pid) if _SENDER in " ".join(processes.command_line(each))]


def is_complete(home: Home, replicas: int) -> bool:
    """Return whether a primary and `replicas` replicas serve."""
    parts = [part for part in observe_fleet(home).parts if part.name.startswith("postgres")]
    roles = Counter(part.role for part in parts if part.state == "ready" and part.process)
    return roles == Counter({"postgres-primary": 1, "postgres-replica": replicas})


async def kill_server(pid: int) -> None:
    """Kill the postmaster; its children notice and end."""
    os.kill(pid, signal.SIGKILL)


async def freeze_server(pid: int) -> None:
    """Freeze all processes of the server; they could continue at any time."""
    _stop(process_tree(pid))


async def cut_off_replicas(pid: int) -> None:
    """Disconnect the replicas and kill the primary a moment later.

    A commit acknowledged in between would be on no other disk, so none may be acknowledged.
    """
    _stop(wal_senders(pid))
    await asyncio.sleep(CUT_OFF_S)
    os.kill(pid, signal.SIGKILL)


def _stop(numbers: Iterable[int]) -> None:
    for each in numbers:
        with contextlib.suppress(ProcessLookupError):  # a connection's process may have ended
            os.kill(each, signal.SIGSTOP)


Lose = Callable[[int], Awaitable[None]]
LOSSES: dict[str, Lose] = {
    "killed": kill_server,
    "frozen": freeze_server,
    "cut off": cut_off_replicas,
}
