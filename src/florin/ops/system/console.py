"""Console: what a human reads while something runs, and the one sentence when it cannot."""

import contextlib
import shutil
import sys
import time
from collections.abc import Generator


class OperatorError(Exception):
    """What stands in the way and what to do next, in one sentence."""


class Progress:
    """Progress on stderr: lines that stay and, on a terminal, one that is written over.

    A reader that has gone (closed terminal, `| head`) never stops the fleet.
    """

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._shown = 0

    def say(self, line: str) -> None:
        self._write(f"{self._erase()}{line}\n")
        self._shown = 0

    def status(self, line: str) -> None:
        if self.live:
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
    """Say that something happens and, once it has, how long it took."""
    begun = time.monotonic()
    voice.status(f"{what} …")
    yield
    say(f"{what}: {time.monotonic() - begun:.1f} s")
