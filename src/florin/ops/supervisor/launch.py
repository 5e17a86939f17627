"""Launch: start a process that outlives the supervisor."""

import os
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

# The shell writes its pid to the pid file before it executes the part: the next supervisor knows
# what runs even if this one is killed at that moment. It also writes /proc/PID/stat: its start time
# distinguishes the process from a later one with the same pid, independent of the clock. A failed
# write (full disk) does not prevent the start.
_NUMBERED = (
    'stat=""; [ ! -r "/proc/$$/stat" ] || read -r stat <"/proc/$$/stat"; echo "$$ $stat" >&0;'
    ' exec "$@" </dev/null'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The command, environment and user with which a part is started."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    account: OsAccount | None = None


class StartedProcess:
    """A started child: its process, and its exit status once it has ended."""

    def __init__(self, child: subprocess.Popen[Any], process: ProcessId | None) -> None:
        self._child = child
        self.process = process

    def ending(self) -> str:
        """Reap the process and return how it ended: `exit code 1`, `signal 9`."""
        code = self._child.poll()
        if code is None:
            return "still ending"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def launch_process(home: Home, what: Launch) -> StartedProcess:
    """Start a process in its own session, without pipes, so that it survives the supervisor."""
    account = what.account
    options = {} if account is None else account.options()
    try:
        number = os.open(pid_file(home, what.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        log = os.open(home.log(what.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise OperatorError(f"{home.path} is not writable: {error.strerror}.") from None
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


def log_tail(log: Path, lines: int = 3) -> str:
    """Return the last lines of a log, for the message about a part that ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
