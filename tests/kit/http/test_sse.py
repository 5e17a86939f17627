"""Server-sent events: a stream ends with its source, its client or its instance, and with a client
that does not read.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from florin.kit.http import sse
from florin.kit.http.drain import Drain

WITHIN_S = 30


class Reader:
    """A client: what it received, whether it reads, when it disconnects."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.body":
            self.got += [message["body"]] if message["body"] else []
            self.ended = not message["more_body"]


class Events:
    """Some events, then the end or none for ever; `left` once the generator was closed."""

    def __init__(self, *sent: bytes, end: bool = False) -> None:
        self.sent, self.end, self.left = sent, end, False

    async def all(self) -> AsyncGenerator[bytes]:
        try:
            for each in self.sent:
                yield each
            if not self.end:
                await asyncio.Event().wait()
        finally:
            self.left = True


@pytest.fixture
def drain() -> Drain:
    return Drain(least_s=0, most_s=0)


async def answered(events: Events, drain: Drain, reader: Reader, **scope: Any) -> None:
    async with asyncio.timeout(WITHIN_S):
        generator = events.all()
        await sse.send_events(generator, drain, scope, reader.receive, reader.send)
        await generator.aclose()  # fails if the generator is still running


async def test_a_stream_ends_with_its_events(drain: Drain) -> None:
    reader = Reader()
    await answered(Events(b"one", b"two", end=True), drain, reader)
    assert (reader.got, reader.ended) == ([b"one", b"two"], True)


async def test_a_draining_instance_ends_an_idle_stream(drain: Drain) -> None:
    reader, events = Reader(), Events(b"one")
    answering = asyncio.ensure_future(answered(events, drain, reader))
    while not reader.got:  # noqa: ASYNC110 -- the other task fills it
        await asyncio.sleep(0)
    drain.begin()
    assert drain.is_over()
    await answering
    assert (reader.got, reader.ended, events.left) == ([b"one", sse.RECONNECT], True, True)


async def test_a_disconnected_client_ends_an_idle_stream(drain: Drain) -> None:
    reader, events = Reader(), Events()
    reader.gone.set()
    await answered(events, drain, reader)
    assert reader.got == []


async def test_a_client_that_does_not_read_is_disconnected(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "READ_WITHIN_S", 0.05)
    reader, events = Reader(), Events(b"one", b"two")

    async def full(message: Any) -> None:
        await Reader.send(reader, message)
        if reader.got:
            reader.reads.clear()

    reader.send = full
    await answered(events, drain, reader)
    assert (reader.got, events.left) == ([b"one"], True)


async def test_a_head_request_has_no_body(drain: Drain) -> None:
    reader = Reader()
    await answered(Events(b"one"), drain, reader, head=True)
    assert (reader.got, reader.ended) == ([], True)
