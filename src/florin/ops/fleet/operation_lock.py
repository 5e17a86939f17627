"""Operation lock: one change to the fleet at a time. Its record is the lock, and what finishes
it.
"""

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.system.processes import ProcessId


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is being done, by whom, and what the fleet shall be then, or again."""

    who: str
    what: str  # the command as it was given
    since: float = field(default_factory=time.time)
    pid: int = 0  # the supervisor that does it
    started: str = ""
    goal: dict[str, ReleaseMark] = field(
        default_factory=dict[str, ReleaseMark]
    )  # empty: nothing to finish
    undo: dict[str, ReleaseMark] = field(default_factory=dict[str, ReleaseMark])
    undoing: bool = False
    workers: str = ""  # asked for from now on: a number or auto; empty: as it was
    release: str = ""  # whose schema it needs; empty where no other release comes
    back: bool = False  # to an earlier release: its routines are put back last
    batch: int = 1
    surge: bool = False
    soak_s: float = 0.0

    def said(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"{self.who} ({self.what}, since {clock})"


def take_lock(home: Home, operation: Operation) -> Operation:
    """Take the lock; raises Unable with the holder's name while a living one holds it."""
    holder = load_operation(home)
    if holder is not None and processes.is_alive(ProcessId(holder.pid, holder.started)):
        raise OperatorError(f"The fleet is being changed by {holder.said()}; try again after that.")
    me = processes.find_process(os.getpid())
    assert me is not None
    taken = replace(operation, pid=me.pid, started=me.started)
    save_operation(home, taken)
    return taken


def save_operation(home: Home, operation: Operation) -> None:
    write_file(_path(home), msgspec.json.encode(operation))


def load_operation(home: Home) -> Operation | None:
    """Return the operation on record, living or cut off."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=Operation)
    except (OSError, msgspec.DecodeError):
        return None


def release_lock(home: Home) -> None:
    _path(home).unlink(missing_ok=True)


def _path(home: Home) -> Path:
    return home.run / "operation.json"
