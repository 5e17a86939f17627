"""Stream: a merchant's events as they happen, as a stream of server-sent events (WHATWG HTML, 9.2).

They come from the database, in their order, none left out and none twice: only up to the instant at
which the oldest transaction still running began, as balances do. Valkey says no more than when to
look: streams look by themselves as often as kit/wake says, which is how what workers do is seen. A
stream holds no connection to the database while it waits.
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

EVENTS_TOPIC = "florin:happened"  # the channel on which processes tell whose money moved
STREAMS_MAX = 200  # of an instance
BEAT_S = 3.5  # then something is sent, within five: proxies end what is silent, peers may be dead
_LOOK_LEAST_S = 0.1
_PAGE = 200
_BEAT = b":\n\n"
_NOBODY = UUID(int=0)

# The time of the statement lies before the look at the locks: what began since is later.
_SETTLED = """
select statement_timestamp() as now, florin.oldest_money() as began, m.clock_offset as shift
from florin.merchant m where m.id = $1
"""


class EventStreams:
    """The streams of one instance."""

    def __init__(self, database: Database, wake: Notifier, access: Authenticator) -> None:
        self._database = database
        self._wake = wake
        self._access = access
        self._streams: Counter[UUID] = Counter()

    @asynccontextmanager
    async def following(
        self, reads: RoutedReader, caller: Caller, authorization: str | None, *, since: str | None
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """What happens from now on, or after the event `since`, while the caller may see it.
        Raises InvalidRequest, Overloaded, QuotaExceeded.
        """
        merchant = caller.merchant
        most = await quotas.limit_of(self._database, merchant, "event_streams")
        # Nothing is awaited from here until this one is counted.
        if self._streams.total() >= STREAMS_MAX:
            raise Overloaded("this instance has as many streams of events as it can")
        if self._streams[merchant] >= most:
            raise QuotaExceeded.of("event_streams", most)
        self._streams[merchant] += 1
        metrics.event_streams.inc()
        try:
            if since is None:  # what a list that is read next may lack is sent
                after = ((await self._settled(merchant))[0], _NOBODY)
            else:
                found = await event.find_event_position(reads, merchant, since)
                if found is None:
                    raise InvalidRequest("there is no such event", param="Last-Event-ID")
                after = found
            async with aclosing(self._lines(reads, caller, authorization, after)) as lines:
                yield lines
        finally:
            self._streams -= Counter([merchant])  # and forget whoever has none left
            metrics.event_streams.dec()

    async def _lines(
        self, reads: RoutedReader, caller: Caller, authorization: str | None, after: Place
    ) -> AsyncGenerator[bytes]:
        merchant = caller.merchant
        said = time.monotonic()
        try:
            with self._wake.subscribe(merchant.bytes) as ear:
                yield RECONNECT  # where it ends, come back after so long; and: here we are
                while True:
                    ear.clear()
                    (await self._access.caller(authorization)).needs("events:read")
                    until, running = await self._settled(merchant)
                    reads.require_position(await self._database.position())
                    found, after = await event.events_after(
                        reads, merchant, after, until, most=_PAGE
                    )
                    for each in found:
                        yield _shown(each)
                    if len(found) == _PAGE:
                        continue
                    now = time.monotonic()
                    if found:
                        said = now
                    elif now - said >= BEAT_S:
                        said = now
                        yield _BEAT
                    await asyncio.sleep(_LOOK_LEAST_S)
                    if not running:
                        await self._wake.wait_for(ear)
        except (Refusal, PoolTimeout, StatementTimeout, *BROKEN):
            # Begun answers end; the next try is told why, or finds another server.
            return

    async def _settled(self, merchant: UUID) -> tuple[datetime, bool]:
        """The instant before which nothing is added any more, on the merchant's clock, and whether
        something runs that may belong behind it.
        """
        row = await self._database.one(_SETTLED, merchant)
        assert row is not None
        running = row["began"] is not None
        until: datetime = row["began"] if running else row["now"]
        return until + row["shift"], running


def _shown(each: Event) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (each.id.encode(), msgspec.json.encode(each))
