"""Background: start the supervisor in the background and wait until the fleet serves."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say
from florin.ops.system.processes import ProcessId

LOG = "supervisor"
_POLL_S = 0.1
_VERDICT = "florin: "  # the prefix of the error message with which a command ends


class _LogLine(msgspec.Struct):
    """What is read of a line of the supervisor's log."""

    event: str


def start_in_background(home: Home, command: Sequence[str]) -> None:
    """Start the supervisor and return once the fleet serves.

    It takes over from a running supervisor. Raises OperatorError with its error message.
    """
    home.make()
    log = home.log(LOG)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    read_from = os.fstat(handle).st_size
    try:
        child: subprocess.Popen[Any] = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    process = processes.find_process(child.pid)
    try:
        _await(home, child, process, read_from)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise OperatorError("Interrupted; the parts that it had started were stopped.") from None


def _await(
    home: Home, child: subprocess.Popen[Any], process: ProcessId | None, read_from: int
) -> None:
    unfinished, verdict = "", ""
    while True:
        ended = child.poll() is not None
        ready = _is_ready(home, process)
        text = _read(home, read_from)
        read_from += len(text)
        *lines, unfinished = (unfinished + text.decode(errors="replace")).split("\n")
        for line in lines:
            if line.startswith(_VERDICT):
                verdict = line.removeprefix(_VERDICT)
            else:
                say(_sentence(line))
        if ended:
            raise OperatorError(verdict or f"The supervisor ended; see {home.log(LOG)}.")
        if ready:
            return
        time.sleep(_POLL_S)


def _sentence(line: str) -> str:
    """Return what the supervisor says in a line of its log."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(line, type=_LogLine).event
    return line


def _is_ready(home: Home, process: ProcessId | None) -> bool:
    me = home.fleet().part("supervisor")
    return me is not None and process is not None and me.process == process and me.state == "ready"


def _read(home: Home, start: int) -> bytes:
    with home.log(LOG).open("rb") as file:
        file.seek(start)
        return file.read()
