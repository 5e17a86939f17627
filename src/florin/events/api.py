"""API: the routes that list and stream events."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from litestar import get
from litestar.params import Parameter
from litestar.response import Response

from florin.events import event
from florin.events.event import Event, EventFilter
from florin.events.stream import EventStreams
from florin.identity.authentication import Caller, EmailNotVerified
from florin.kit.errors import NotFound, QuotaExceeded
from florin.kit.http import sse
from florin.kit.http.asgi import Receive, Scope, Send
from florin.kit.http.body import Page
from florin.kit.http.drain import Drain
from florin.kit.http.list_filters import CreatedFilter
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.replicas.routing import RoutedReader


@get("/events", summary="List events", responses=refusal_responses())
async def list_events(
    caller: Caller,
    reads: RoutedReader,
    created: CreatedFilter,
    limit: Limit = 20,
    starting_after: After = None,
    type: str | None = None,  # noqa: A002 -- the name in the query
    card: str | None = None,
) -> Page[Event]:
    """Newest first. Each event has its object as it was at that time."""
    caller.needs("events:read")
    only = EventFilter(kind=type, card=Pagination.only("crd", card), created=created.bounds())
    after = Pagination.after("evt", starting_after)
    events = await event.list_events(
        reads.covering(card), caller.merchant, limit=limit + 1, after=after, only=only
    )
    return Pagination.of(events, limit)


@get("/events/{event_id:str}", summary="Get an event", responses=refusal_responses(NotFound))
async def get_event(caller: Caller, reads: RoutedReader, event_id: str) -> Event:
    caller.needs("events:read")
    return await event.find_event(reads, caller.merchant, event_id)


Events = AsyncGenerator[bytes]


class Streamed(Response[bytes]):
    """A response that streams events. Opening the stream may still refuse the request."""

    def __init__(self, events: AbstractAsyncContextManager[Events], drain: Drain) -> None:
        super().__init__(b"", media_type=sse.KIND)
        self._events, self._drain = events, drain

    def to_asgi_response(self, *_more: Any, **_rest: Any) -> Any:
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._events as events:
            await sse.send_events(events, self._drain, scope, receive, send)


LastEventId = Annotated[
    str,
    Parameter(
        header="Last-Event-ID",
        description="The id of the last event received; all later ones are sent.",
    ),
]


@get(
    "/events/stream",
    summary="Follow events",
    media_type=sse.KIND,
    responses=refusal_responses(EmailNotVerified, QuotaExceeded),
)
async def follow_events(
    request: AnyRequest,
    caller: Caller,
    reads: RoutedReader,
    event_streams: EventStreams,
    drain: Drain,
    last_event_id: LastEventId = "",
) -> Streamed:
    """Server-sent events in order, from now on, or after the event `Last-Event-ID`. A client whose
    stream ends reconnects with the last id that it received, and misses nothing.
    """
    caller.needs("events:read")
    authorization = request.headers.get("authorization")
    return Streamed(
        event_streams.following(reads, caller, authorization, since=last_event_id or None), drain
    )


handlers = [list_events, follow_events, get_event]
