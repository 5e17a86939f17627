"""Operation lock: one change to the fleet at a time.

The record of the operation is the lock; it also has what is needed to finish or undo the change.
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
    """One change to the fleet: who made it, its goal, and the state to return to on failure."""

    who: str
    what: str  # the command as it was given
    since: float = field(default_factory=time.time)
    pid: int = 0  # the supervisor that carries it out
    started: str = ""
    goal: dict[str, ReleaseMark] = field(
        default_factory=dict[str, ReleaseMark]
    )  # empty: nothing to finish
    undo: dict[str, ReleaseMark] = field(default_factory=dict[str, ReleaseMark])
    undoing: bool = False
    workers: str = ""  # the new desired number, or auto; empty: unchanged
    release: str = ""  # the new release, whose schema is needed; empty: unchanged
    back: bool = False  # a rollback: the earlier release's SQL functions are restored last
    batch: int = 1
    surge: bool = False
    soak_s: float = 0.0
    blue_green: bool = False  # all new instances start first, then one step switches to them
    flip: bool = False  # blue-green, to instances that already ran: they are not checked again
    verify: bool = False  # a load of the gate runs meanwhile, and its log must equal the ledger
    keep_s: float = 0.0  # how long the instances of before stay as the standby

    def describe(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"{self.who} ({self.what}, since {clock})"


def take_lock(home: Home, operation: Operation) -> Operation:
    """Acquire the lock. Raises OperatorError, naming the holder, while its process runs."""
    holder = load_operation(home)
    if holder is not None and processes.is_alive(ProcessId(holder.pid, holder.started)):
        raise OperatorError(busy_message(holder))
    me = processes.find_process(os.getpid())
    assert me is not None
    taken = replace(operation, pid=me.pid, started=me.started)
    save_operation(home, taken)
    return taken


def busy_message(holder: Operation) -> str:
    return (
        f"Another operation is changing the fleet: {holder.describe()}. Try again once it has"
        " finished."
    )


def save_operation(home: Home, operation: Operation) -> None:
    write_file(_path(home), msgspec.json.encode(operation))


def load_operation(home: Home) -> Operation | None:
    """Return the recorded operation, running or interrupted."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=Operation)
    except (OSError, msgspec.DecodeError):
        return None


def release_lock(home: Home) -> None:
    _path(home).unlink(missing_ok=True)


def _path(home: Home) -> Path:
    return home.run / "operation.json"
