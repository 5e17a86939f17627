"""Console: progress messages for the operator, and the error that ends a command."""

import contextlib
import shutil
import sys
import time
from collections.abc import Generator


class OperatorError(Exception):
    """An error for the operator: what is wrong and what to do next."""


class Progress:
    """Progress on stderr: permanent lines and, on a terminal, one status line that is overwritten.

    A closed terminal or pipe never stops the fleet.
    """

    def __init__(self) -> None:
        self.on_terminal = sys.stderr.isatty()
        self._shown = 0

    def say(self, line: str) -> None:
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
