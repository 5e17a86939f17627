"""Processes: identify processes. A pid alone may have been reused by another process."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_STATE, _START = 0, 19  # fields of /proc/PID/stat, counted behind the parenthesised name
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """The pid and start time of a process: together they are never reused."""

    pid: int
    started: str


def find_process(pid: int) -> ProcessId | None:
    """Return the running process with this pid; a zombie does not count."""
    if not (_PROC / "self").exists():
        return _find_by_ps(pid)
    stat = _stat(pid)
    if stat is None or stat[_STATE] in "ZX":
        return None
    return ProcessId(pid, f"{_boot()}:{stat[_START]}")


def parse_stat(pid: int, stat: str) -> ProcessId:
    """Return the process from the text of /proc/PID/stat. Raises ValueError or IndexError."""
    return ProcessId(pid, f"{_boot()}:{_fields(stat)[_START]}")


def is_alive(process: ProcessId) -> bool:
    return find_process(process.pid) == process


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # another system, or already gone
        handle = None
    try:
        if not is_alive(process):
            return False
        if handle is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


async def wait_gone(process: ProcessId) -> None:
    """Return once the process has ended; it need not be a child."""
    handle = None
    with contextlib.suppress(AttributeError, OSError):
        handle = os.pidfd_open(process.pid)
    if handle is None:
        while is_alive(process):  # noqa: ASYNC110 - without pidfd there is no event
            await asyncio.sleep(_POLL_S)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        if is_alive(process):  # checked with the pidfd open: the pid cannot be reused meanwhile
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def reap_child(process: ProcessId) -> None:
    """Reap an ended child, also one that was started before this process called exec."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(process.pid, os.WNOHANG)


def process_started_at(pid: int) -> float:
    """Return the start time in seconds, on the clock of file timestamps; 0 if unknown."""
    stat = _stat(pid)
    if stat is None:
        return 0.0
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - up + int(stat[_START]) / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
        return [word.decode(errors="replace") for word in raw.split(b"\0") if word]
    return []


def process_user(pid: int) -> int | None:
    """Return the user id that a process runs as; None where the system does not report it."""
    with contextlib.suppress(OSError, StopIteration):
        # Not the owner of /proc/PID: root owns it for a process that dropped its privileges.
        text = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace")
        line = next(line for line in text.splitlines() if line.startswith("Uid:"))
        return int(line.split()[2])
    return None


def process_usage(process: ProcessId) -> tuple[float, int]:
    """Return the CPU seconds used so far and the resident memory in bytes."""
    stat = _stat(process.pid)
    if stat is None or not is_alive(process):
        return 0.0, 0
    ticks = int(stat[11]) + int(stat[12])
    pages = int(stat[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    return _fields(text)


def _fields(stat: str) -> list[str]:
    return stat[stat.rindex(")") + 2 :].split()


@cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii")[:8]
    return ""


def _find_by_ps(pid: int) -> ProcessId | None:
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    if len(said) != 2 or said[0].startswith("Z"):  # noqa: PLR2004 - state and time
        return None
    return ProcessId(pid, said[1].strip())
