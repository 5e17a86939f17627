"""Console: progress messages for the operator, and the error that ends a command."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from florin.kit.observability import redaction

ERROR = "Error: "  # begins a line about an unexpected error


class OperatorError(Exception):
    """An error for the operator: what is wrong and what to do next."""


class Progress:
    """Progress on stderr: permanent lines and, on a terminal, one status line that is overwritten.

    A supervisor also writes the lines to its log, as the JSON of docs/operations/logs.md. A closed
    terminal or pipe, or a full disk, never stops the fleet.
    """

    def __init__(self) -> None:
        self.on_terminal = sys.stderr.isatty()
        self._shown = 0
        self._log: Path | None = None
        self._only_log = False

    def log_to(self, log: Path, *, only: bool) -> None:
        """Write the lines to this log, too; `only`: not to stderr any more."""
        self._log, self._only_log = log, only

    def say(self, line: str) -> None:
        if self._log is not None:
            self._append(self._log, line)
        if not self._only_log:
            self._write(f"{self._erase()}{line}\n")
        self._shown = 0

    def status(self, line: str) -> None:
        if self.on_terminal:
            line = line[: max(20, shutil.get_terminal_size().columns - 1)]
            self._write(self._erase() + line)
            self._shown = len(line)

    def clear(self) -> None:
        self._write(self._erase())
        self._shown = 0

    def _erase(self) -> str:
        return f"\r{' ' * self._shown}\r" if self._shown else ""

    @staticmethod
    def _append(log: Path, line: str) -> None:
        """One write to a file opened for appending: lines of several processes do not mix."""
        event = {
            "at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "level": "error" if line.startswith(ERROR) else "info",
            "event": redaction.redact_secrets(line),
            "instance": "supervisor",
        }
        with contextlib.suppress(OSError):
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, msgspec.json.encode(event) + b"\n")
            finally:
                os.close(handle)

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


voice = Progress()
say = voice.say


@contextlib.contextmanager
def timed(what: str) -> Generator[None]:
    """Show that an action is running and, after it, how long it took."""
    begun = time.monotonic()
    voice.status(f"{what} …")
    yield
    say(f"{what}: {time.monotonic() - begun:.1f} s")
