"""Pid files: which process wrote a part's number, if it lives."""

from pathlib import Path

from florin.ops.fleet.home import Home
from florin.ops.system import processes
from florin.ops.system.processes import Process


def recorded(home: Home, name: str) -> Process | None:
    """Return the process that wrote this part's pid file, if it lives.

    A process that started after the file was written only inherited the number.
    """
    path = pid_file(home, name)
    try:
        pid, written = int(path.read_text("ascii")), path.stat().st_mtime
    except (OSError, ValueError):
        return None
    process = processes.find(pid)
    if process is None or processes.started_at(pid) > written + 1:
        return None
    return process


def pid_file(home: Home, name: str) -> Path:
    return home.run / f"{name}.pid"
