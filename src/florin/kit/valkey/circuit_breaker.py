"""Circuit breaker: stops calls to a dependency that keeps failing."""

import time
from collections.abc import Callable

FAILURES = 3  # consecutive failures that open the breaker
PAUSE_S = 0.5  # until one trial call is allowed


class CircuitBreaker:
    """Closed, it allows every call; open, only one trial call every PAUSE_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._try_at = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= FAILURES

    def allows(self) -> bool:
        if not self.open:
            return True
        now = self._clock()
        if now < self._try_at:
            return False
        self._try_at = now + PAUSE_S  # this is the trial call
        return True

    def record_success(self) -> None:
        self._failures = 0

    def record_failure(self) -> None:
        self._failures += 1
        if self._failures == FAILURES:
            self._try_at = self._clock() + PAUSE_S
