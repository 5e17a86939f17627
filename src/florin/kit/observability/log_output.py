"""Log output: writes log lines to standard error, in a thread and in their order.

A slow or full destination never delays a request: lines wait in memory, at most LINES_MAX of them,
and further ones are dropped and counted. Lines are written together, FLUSH_EVERY_S after the first
of them, at once after an error, and at the end of the process; a killed process loses at most those
of its last FLUSH_EVERY_S.
"""

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable

from florin.kit.observability.telemetry_metrics import log_dropped

FLUSH_EVERY_S = 0.05
LINES_MAX = 10_000
_TOGETHER = 256  # lines of one write
_STDERR = 2

Line = bytes | Callable[[], bytes]  # the text of a line without its end, or what makes it


class LogOutput:
    """The lines that wait to be written to the file descriptor `target`."""

    def __init__(self, target: int = _STDERR) -> None:
        self._target = target
        self._lines: deque[Line] = deque()
        self._there = threading.Event()
        self._urgent = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, line: Line, *, urgent: bool = False) -> None:
        """Add a line, to be written soon; `urgent`: as soon as possible."""
        if len(self._lines) >= LINES_MAX:
            log_dropped.labels("full").inc()
            return
        self._lines.append(line)
        if urgent:
            self._urgent.set()
        if not self._there.is_set():
            self._there.set()
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        """Write all lines that wait."""
        with self._writing:
            while self._lines:
                self._write(
                    [self._lines.popleft() for _ in range(min(_TOGETHER, len(self._lines)))]
                )

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._flush_forever, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no memory for a thread: the next line tries again
            self._thread = None
            self.flush()

    def _flush_forever(self) -> None:
        while True:
            self._there.wait()
            self._urgent.wait(FLUSH_EVERY_S)
            self._urgent.clear()
            self._there.clear()  # before the flush: a line that is added meanwhile sets it again
            self.flush()

    def _write(self, lines: list[Line]) -> None:
        text = b"".join([(each if isinstance(each, bytes) else each()) + b"\n" for each in lines])
        try:
            while text:
                text = text[os.write(self._target, text) :]
        except OSError:  # a full disk, or a closed pipe: the process serves on without its log
            log_dropped.labels("write").inc(text.count(b"\n"))


output = LogOutput()
atexit.register(output.flush)
