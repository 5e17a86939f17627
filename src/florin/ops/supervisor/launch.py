"""Launch: start one process that outlives its starter."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florin.ops.fleet.home import Home
from florin.ops.fleet.pid_files import pid_file
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount
from florin.ops.system.processes import ProcessId

_KEPT_LOGS = 3
# The shell writes its number before it becomes the part: the next supervisor knows what runs, even
# if this process is killed in the very moment. With it goes what the kernel says of the process:
# another one with the same number is not taken for it, whatever the clock does meanwhile. A full
# disk does not keep it from starting.
_NUMBERED = (
    'stat=""; [ ! -r "/proc/$$/stat" ] || read -r stat <"/proc/$$/stat"; echo "$$ $stat" >&0;'
    ' exec "$@" </dev/null'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a part is started."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    account: OsAccount | None = None


class StartedProcess:
    """A child just started: which process it is, and how it ended once it has."""

    def __init__(self, child: subprocess.Popen[Any], process: ProcessId | None) -> None:
        self._child = child
        self.process = process

    def ending(self) -> str:
        """Reap it and say how it ended: `exit code 1`, `signal 9`."""
        code = self._child.poll()
        if code is None:
            return "still ending"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def launch_process(home: Home, what: Launch) -> StartedProcess:
    """Start it in a session of its own: no Ctrl-C of ours reaches it, no pipe ties it to us."""
    rotate_log(home.log(what.name))
    account = what.account
    options = {} if account is None else account.options()
    try:
        number = os.open(pid_file(home, what.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        log = os.open(home.log(what.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise OperatorError(f"{home.path} cannot be written: {error.strerror}.") from None
    try:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _NUMBERED, "florin", *what.argv],
            stdin=number,
            stdout=log,
            stderr=log,
            env=dict(what.environ),
            cwd="/",
            start_new_session=True,
            umask=0o077,
            **options,
        )
    except OSError as error:
        raise OperatorError(f"{what.name} could not be started: {error.strerror}.") from None
    finally:
        os.close(number)
        os.close(log)
    return StartedProcess(child, processes.find_process(child.pid))


def rotate_log(log: Path, limit: int = 4 * 2**20) -> None:
    """Put a grown log aside before its part starts again."""
    try:
        if log.stat().st_size < limit:
            return
    except OSError:
        return
    _shift(log)
    log.replace(log.with_name(f"{log.name}.1"))


def truncate_log(log: Path, limit: int = 64 * 2**20) -> bool:
    """Copy a grown log aside and empty it under its writer, who only ever appends."""
    try:
        if log.stat().st_size < limit:
            return False
        _shift(log)
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except OSError:
        return False  # tried again in a while; a full disk is told elsewhere
    return True


def _shift(log: Path) -> None:
    for number in range(_KEPT_LOGS - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))


def log_tail(log: Path, lines: int = 3) -> str:
    """Return the end of a log, for the sentence that says why a part is down."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
