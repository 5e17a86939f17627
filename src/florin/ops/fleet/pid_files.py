"""Pid files: the process that wrote a part's pid file, if it still runs."""

from pathlib import Path

from florin.ops.fleet.home import Home
from florin.ops.system import processes
from florin.ops.system.processes import ProcessId


def recorded_process(home: Home, name: str) -> ProcessId | None:
    """Return the process that wrote this part's pid file, if it still runs.

    The file also has the start time of the process in kernel ticks, which changes of the clock do
    not affect: another process that reuses the pid has a later start time.
    """
    path = pid_file(home, name)
    try:
        number, _, stat = path.read_text("utf-8", errors="replace").partition(" ")
        process = processes.find_process(int(number))
        if not stat.strip() or process is None:  # a system without /proc: by the file's age
            return process if _wrote(path, process) else None
        return process if processes.parse_stat(process.pid, stat) == process else None
    except (OSError, ValueError, IndexError):
        return None


def _wrote(path: Path, process: ProcessId | None) -> bool:
    return (
        process is not None
        and processes.process_started_at(process.pid) <= path.stat().st_mtime + 1
    )


def pid_file(home: Home, name: str) -> Path:
    return home.run / f"{name}.pid"
