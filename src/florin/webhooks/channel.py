"""Channel: what is being sent to one endpoint now, and how much of it at the same time.

An endpoint begins with one attempt at a time. Each success allows one more, each failure halves
that, so an endpoint that hangs holds one connection. The attempts for one card are never
concurrent: first attempts arrive in the order of the card's events.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from florin.webhooks.http_client import Attempt, EndpointClient

WINDOW_MAX = 24  # attempts at the same time, for an endpoint that answers
SUSPECT = 3  # failures in a row after which one delivery is tried at a time
IDLE_S = 20.0  # then its connections are closed
_LOOK_AHEAD = 50


@dataclass(slots=True)
class Item:
    """A delivery to be sent."""

    id: UUID
    event: UUID
    card: UUID | None
    attempts: int
    body: bytes = b""


@dataclass(slots=True)
class Channel:
    """The state of an endpoint in the lane that owns it."""

    merchant: UUID
    endpoint: UUID
    url: str
    client: EndpointClient
    secrets: tuple[str, ...]
    failures: int
    window: int = 1
    proven: bool = False  # its last attempt succeeded
    queue: deque[Item] = field(default_factory=deque[Item])
    unwritten: int = 0  # attempts that run, or whose outcome is not in the database yet
    used_at: float = field(default_factory=time.monotonic)
    _running: int = 0
    _cards: set[UUID] = field(default_factory=set[UUID])

    @property
    def is_busy(self) -> bool:
        """Whether its deliveries in the database may differ from what is known here."""
        return bool(self.queue) or self.unwritten > 0

    def next_item(self) -> Item | None:
        """Begin the next attempt that may run now."""
        if self._running >= self.window:
            return None
        for place, item in enumerate(self.queue):
            if place >= _LOOK_AHEAD:
                return None
            if item.card is None or item.card not in self._cards:
                del self.queue[place]
                self._running += 1
                self.unwritten += 1
                if item.card is not None:
                    self._cards.add(item.card)
                return item
        return None

    def end_attempt(self, item: Item, attempt: Attempt) -> None:
        """Record the end of an attempt."""
        self._running -= 1
        if item.card is not None:
            self._cards.discard(item.card)
        self.used_at = time.monotonic()
        self.proven = attempt.succeeded
        if attempt.succeeded:
            self.failures = 0
            self.window = min(self.window + 1, WINDOW_MAX)
            return
        self.failures += 1
        self.window = max(1, self.window // 2)
        if self.failures >= SUSPECT:
            self.queue.clear()  # they wait in the database


def idle_channels(channels: dict[UUID, Channel], is_past: Callable[[float], bool]) -> list[Channel]:
    """Remove and return the channels that were not used for a while."""
    idle = [each for each in channels.values() if not each.is_busy and is_past(each.used_at)]
    for each in idle:
        del channels[each.endpoint]
    return idle
