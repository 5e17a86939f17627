"""Drain: how an instance leaves without a request noticing.

First it only says so: readiness answers 404, every answer carries `Connection: close`, streams are
told to reconnect, and whatever arrives is served, since balancers notice late. When it has said so
for long enough and nothing arrives any more it closes its listener and finishes what it has.
"""

import asyncio
import time
from collections.abc import Callable

QUIET_S = 0.5  # without a request: nobody sends here any more
_PROBES = "/health"


class Drain:
    """Whether this instance leaves, since when, and whether it may close its door."""

    def __init__(
        self, *, least_s: float, most_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._least_s = least_s
        self._most_s = max(most_s, least_s)
        self._clock = clock
        self._begun: float | None = None
        self._arrived = float("-inf")
        self._hurried = False
        self.told = asyncio.Event()  # for streams, which nothing else would end

    @property
    def draining(self) -> bool:
        return self._begun is not None

    def begin(self) -> None:
        """From now on answer what comes, and ask callers to connect elsewhere.

        Safe in a signal handler: it touches no loop.
        """
        if self._begun is None:
            self._begun = self._clock()

    def shorten(self) -> None:
        """Close the door at the next tick, whoever may still knock."""
        self.begin()
        self._hurried = True

    def record_request(self, path: str) -> None:
        """A request came; what counts is one that comes late. Probes come as long as they may."""
        if self._begun is not None and not path.startswith(_PROBES):
            self._arrived = self._clock()

    def is_over(self) -> bool:
        """Asked by the loop now and then: whether to close the listener and finish."""
        if self._begun is None:
            return False
        self.told.set()
        if self._hurried:
            return True
        now = self._clock()
        quiet = now - self._arrived >= min(QUIET_S, self._least_s)
        since = now - self._begun
        return since >= self._most_s or (since >= self._least_s and quiet)
