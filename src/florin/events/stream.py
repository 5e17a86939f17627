"""Stream: a merchant's events as they happen, as server-sent events (WHATWG HTML, 9.2).

Events are read from the database, in order, each exactly once: only up to the instant at which the
oldest running transaction began, like balances. A notification from Valkey only means that a stream
should read now. Without one, streams read at the interval of kit/valkey/notifications, which is how
they see events of workers. A stream holds no database connection while it waits.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from uuid import UUID

import msgspec

from florin.events import event
from florin.events.event import Event, Place
from florin.identity.authentication import Authenticator, Caller
from florin.kit.errors import InvalidRequest, Overloaded, QuotaExceeded, Refusal
from florin.kit.http.sse import RECONNECT
from florin.kit.observability import metrics
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout, StatementTimeout
from florin.kit.replicas.routing import RoutedReader
from florin.kit.valkey.notifications import Notifier
from florin.ledger import quotas

EVENTS_TOPIC = "florin:happened"  # the channel that announces merchants with new events
STREAMS_MAX = 200  # for each instance
HEARTBEAT_S = 3.5  # a comment is sent after so long, within five: proxies close silent connections
_READ_INTERVAL_MIN_S = 0.1
_PAGE = 200
_HEARTBEAT = b":\n\n"
_BEFORE_ALL = UUID(int=0)

# The statement's time is before the locks are read: a transaction that starts after is later.
_SETTLED = """
select statement_timestamp() as now, oldest_money() as began, m.clock_offset as shift
from florin.merchant m where m.id = $1
"""


class EventStreams:
    """The streams of one instance."""

    def __init__(self, database: Database, notifier: Notifier, access: Authenticator) -> None:
        self._database = database
        self._notifier = notifier
        self._access = access
        self._streams: Counter[UUID] = Counter()

    @asynccontextmanager
    async def following(
        self, reads: RoutedReader, caller: Caller, authorization: str | None, *, since: str | None
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """Open a stream of the events from now on, or after the event `since`, for as long as the
        caller has access. Raises InvalidRequest, Overloaded, QuotaExceeded.
        """
        merchant = caller.merchant
        most = await quotas.limit_of(self._database, merchant, "event_streams")
        # No await from here until this stream is counted: two requests cannot pass together.
        if self._streams.total() >= STREAMS_MAX:
            raise Overloaded(
                f"too many open event streams on this instance ({STREAMS_MAX}); try again later"
            )
        if self._streams[merchant] >= most:
            raise QuotaExceeded.of("event_streams", most)
        self._streams[merchant] += 1
        metrics.event_streams.inc()
        try:
            if (
                since is None
            ):  # from the last settled instant: includes what a list read next may lack
                after = ((await self._settled(merchant))[0], _BEFORE_ALL)
            else:
                position = await event.find_event_position(reads, merchant, since)
                if position is None:
                    detail = "Last-Event-ID is not the id of an event"
                    raise InvalidRequest(detail, param="Last-Event-ID")
                after = position
            async with aclosing(self._lines(reads, caller, authorization, after)) as lines:
                yield lines
        finally:
            self._streams -= Counter([merchant])  # and drop merchants without streams
            metrics.event_streams.dec()

    async def _lines(
        self, reads: RoutedReader, caller: Caller, authorization: str | None, after: Place
    ) -> AsyncGenerator[bytes]:
        merchant = caller.merchant
        last_sent = time.monotonic()
        try:
            with self._notifier.subscribe(merchant.bytes) as subscription:
                yield RECONNECT  # the delay before a reconnection; also starts the response
                while True:
                    subscription.clear()
                    (await self._access.caller(authorization)).needs("events:read")
                    until, running = await self._settled(merchant)
                    reads.require_position(await self._database.position())
                    events, after = await event.events_after(
                        reads, merchant, after, until, most=_PAGE
                    )
                    for each in events:
                        yield _encode(each)
                    if len(events) == _PAGE:
                        continue
                    now = time.monotonic()
                    if events:
                        last_sent = now
                    elif now - last_sent >= HEARTBEAT_S:
                        last_sent = now
                        yield _HEARTBEAT
                    await asyncio.sleep(_READ_INTERVAL_MIN_S)
                    if not running:
                        await self._notifier.wait_for(subscription)
        except (Refusal, PoolTimeout, StatementTimeout, *BROKEN):
            # A started response can only end; the reconnection is refused with the reason, or
            # reaches another server.
            return

    async def _settled(self, merchant: UUID) -> tuple[datetime, bool]:
        """The instant before which no event can be added any more, on the merchant's clock, and
        whether a transaction runs that may add one after it.
        """
        row = await self._database.one(_SETTLED, merchant)
        assert row is not None
        running = row["began"] is not None
        until: datetime = row["began"] if running else row["now"]
        return until + row["shift"], running


def _encode(each: Event) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (each.id.encode(), msgspec.json.encode(each))
