"""Drain: shuts an instance down without a failed request.

First it announces the shutdown: readiness answers 404, every answer has `Connection: close`, event
streams ask their clients to reconnect. New requests are still served, since balancers react late.
After `least_s` without new requests, or after `most_s`, it closes its listener and finishes the
requests in flight.
"""

import asyncio
import time
from collections.abc import Callable

QUIET_S = 0.5  # without a new request: no balancer routes to this instance any more
_PROBES = "/health"


class Drain:
    """Whether this instance drains, since when, and whether it may close its listener."""

    def __init__(
        self, *, least_s: float, most_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._least_s = least_s
        self._most_s = max(most_s, least_s)
        self._clock = clock
        self._begun: float | None = None
        self._arrived = float("-inf")
        self._hurried = False
        self.announced = asyncio.Event()  # for streams, which nothing else would end

    @property
    def draining(self) -> bool:
        return self._begun is not None

    def begin(self) -> None:
        """Begin to drain: serve new requests, and ask clients to connect to another instance.

        Safe in a signal handler: it uses no event loop.
        """
        if self._begun is None:
            self._begun = self._clock()

    def shorten(self) -> None:
        """Close the listener at the next check, even while requests still arrive."""
        self.begin()
        self._hurried = True

    def record_request(self, path: str) -> None:
        """Record a request that arrives while draining. Health probes do not count."""
        if self._begun is not None and not path.startswith(_PROBES):
            self._arrived = self._clock()

    def is_over(self) -> bool:
        """Whether to close the listener and finish; the server polls it."""
        if self._begun is None:
            return False
        self.announced.set()
        if self._hurried:
            return True
        now = self._clock()
        quiet = now - self._arrived >= min(QUIET_S, self._least_s)
        since = now - self._begun
        return since >= self._most_s or (since >= self._least_s and quiet)
