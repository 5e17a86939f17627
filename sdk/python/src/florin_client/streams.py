"""Streams: events as they happen (server-sent events), resumed after each interruption."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Self

import httpx

from florin_client.calls import Arguments, Attempts, Call
from florin_client.errors import ApiError
from florin_client.nouns import Event, decode_answer

if TYPE_CHECKING:
    from florin_client.client import AsyncFlorin, Florin

SILENCE_S = 15  # a line is sent at least every five seconds
_RECONNECT_S = 1.0
_OK = 200


class EventLines:
    """Reads lines of server-sent events; `last_id` is where to go on."""

    def __init__(self, since: str | None) -> None:
        self.last_id = since
        self._id: str | None = None
        self._data: list[str] = []

    def call(self) -> Call[Any]:
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        given = Arguments(headers=headers)
        return Call("follow_events", "GET", "/events/stream", Event, given, repeatable=True)

    def take(self, line: str) -> Event | None:
        """The event that ends with this line. `last_id` is its id only then: an event that was cut
        off is sent again.
        """
        if line.startswith("id: "):
            self._id = line[4:]
        elif line.startswith("data: "):
            self._data.append(line[6:])
        elif not line and self._data:
            event = decode_answer("\n".join(self._data).encode(), Event)
            self.last_id, self._data = self._id, []
            return event
        return None

    def begin(self) -> None:
        self._data, self._id = [], None


class EventStream:
    """Iterates over events; close it, or leave its `with`, to end it."""

    def __init__(self, client: "Florin", since: str | None) -> None:
        self._client = client
        self._lines = EventLines(since)
        self._response = self._open()
        self._events = self._follow()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    @property
    def last_id(self) -> str | None:
        """The id of the last event that was read: give it as `since` to go on later."""
        return self._lines.last_id

    def close(self) -> None:
        self._events.close()
        self._response.close()

    def _open(self) -> httpx.Response:
        call, client = self._lines.call(), self._client
        attempts = Attempts(call, client.budget_s)
        while True:
            request = client.http.build_request(
                "GET",
                client.url + call.path,
                headers=client.head(call),
                timeout=SILENCE_S,
            )
            try:
                response = client.http.send(request, stream=True)
                if response.status_code != _OK:
                    with closing(response):
                        client.check_status(response, response.read())
            except (httpx.TransportError, ApiError) as failure:
                time.sleep(attempts.delay_after(failure))
            else:
                self._lines.begin()
                return response

    def _follow(self) -> Generator[Event]:
        while True:
            try:
                for line in self._response.iter_lines():
                    event = self._lines.take(line)
                    if event is not None:
                        yield event
            except httpx.TransportError:
                pass  # the next connection goes on after the last event
            self._response.close()
            time.sleep(_RECONNECT_S)
            self._response = self._open()


class AsyncEventStream:
    """As EventStream, for `async for` and `async with`."""

    def __init__(self, client: "AsyncFlorin", since: str | None) -> None:
        self._client = client
        self._lines = EventLines(since)
        self._response: httpx.Response | None = None
        self._events = self._follow()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    @property
    def last_id(self) -> str | None:
        return self._lines.last_id

    async def close(self) -> None:
        await self._events.aclose()
        if self._response is not None:
            await self._response.aclose()

    async def open(self) -> None:
        """Connect. Raises ApiError, Unreachable."""
        call, client = self._lines.call(), self._client
        attempts = Attempts(call, client.budget_s)
        while True:
            request = client.http.build_request(
                "GET",
                client.url + call.path,
                headers=client.head(call),
                timeout=SILENCE_S,
            )
            try:
                response = await client.http.send(request, stream=True)
                if response.status_code != _OK:
                    async with aclosing(response):
                        client.check_status(response, await response.aread())
            except (httpx.TransportError, ApiError) as failure:
                await asyncio.sleep(attempts.delay_after(failure))
            else:
                self._lines.begin()
                self._response = response
                return

    async def _follow(self) -> AsyncGenerator[Event]:
        while True:
            assert self._response is not None, "open() comes first"
            try:
                async for line in self._response.aiter_lines():
                    event = self._lines.take(line)
                    if event is not None:
                        yield event
            except httpx.TransportError:
                pass
            await self._response.aclose()
            await asyncio.sleep(_RECONNECT_S)
            await self.open()
