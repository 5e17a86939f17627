"""Part usage: CPU, memory and file descriptors of the fleet's processes, from /proc (Linux)."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name: user and system time, then those of ended children.
_OWN, _ALL = slice(11, 13), slice(11, 15)


@dataclass(frozen=True, slots=True)
class PartUsage:
    """What a part uses: CPU in seconds, memory in bytes, file descriptors of its main process."""

    cpu_s: float
    memory: int
    files: int
    files_limit: int


def read_usage(pid: int, *, with_children: bool) -> PartUsage | None:
    """Return the usage of a process; None if it ended or there is no /proc."""
    try:
        cpu_s = _cpu_s(pid, with_ended=with_children)
        memory = _status(pid)["VmRSS"]
        files = sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
        limit = _files_limit(pid)
    except (OSError, KeyError, ValueError, IndexError):
        return None
    for child in _children(pid) if with_children else ():
        with contextlib.suppress(OSError, KeyError, ValueError, IndexError):  # it ended
            cpu_s += _cpu_s(child, with_ended=True)
            # Shared memory, such as PostgreSQL's buffers, counts once: with the parent.
            memory += _status(child)["RssAnon"]
    return PartUsage(cpu_s, memory, files, limit)


def _cpu_s(pid: int, *, with_ended: bool) -> float:
    fields = (_PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()
    return sum(int(field) for field in fields[_ALL if with_ended else _OWN]) / _TICKS


def _status(pid: int) -> dict[str, int]:
    """The amounts of memory of /proc/PID/status, in bytes."""
    lines = (_PROC / str(pid) / "status").read_text("utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(amount.split()[0]) * 1024 for name, amount in pairs}


def _files_limit(pid: int) -> int:
    for line in (_PROC / str(pid) / "limits").read_text("utf-8").splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    raise ValueError("no limit of open files")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += [int(each) for each in (thread / "children").read_text("utf-8").split()]
    return found
