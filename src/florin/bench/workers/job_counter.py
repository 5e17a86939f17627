"""Job counter: how a worker of no-op jobs reports when the first began and how many ran.

Florin's and PgQueuer's workers both use it. It writes to the log of the process, the last time at
its end, so that jobs that ran twice are counted too.
"""

import sys
import time
from pathlib import Path

import msgspec

_WORD = "FLORIN "


class JobCounts(msgspec.Struct, kw_only=True):
    """Counts so far; times are seconds of the monotonic clock, which all processes share."""

    began: float | None = None
    all_ran: bool = False
    count: int | None = None


class Count:
    """Called by every job. `early`: the time before the first job counts too."""

    def __init__(self, jobs: int, *, early: bool = False) -> None:
        self.jobs = jobs
        self.counts = JobCounts(began=time.monotonic() if early else None)
        self._ran = 0

    def __call__(self) -> None:
        if self.counts.began is None:
            self.counts.began = time.monotonic()
        self._ran += 1
        if self._ran == self.jobs:
            self.counts.all_ran = True
            self.say()

    def close(self) -> None:
        self.counts.count = self._ran
        self.say()

    def say(self) -> None:
        sys.stderr.write(f"{_WORD}{msgspec.json.encode(self.counts).decode()}\n")
        sys.stderr.flush()


def last_counts(log: Path) -> JobCounts:
    """Return the last counts in a log."""
    lines = [line for line in log.read_text("utf-8").splitlines() if line.startswith(_WORD)]
    return msgspec.json.decode(lines[-1][len(_WORD) :], type=JobCounts) if lines else JobCounts()
