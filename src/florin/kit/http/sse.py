"""SSE: responses of server-sent events (WHATWG HTML, 9.2).

A response ends when its events end, when the client disconnects or stops reading, and when this
instance drains: then the client gets a `retry` field and reconnects to another instance.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from florin.kit.http.asgi import Message, Receive, Scope, Send
from florin.kit.http.drain import Drain

KIND = "text/event-stream"
CONTENT_TYPE = (b"content-type", f"{KIND}; charset=utf-8".encode())
RECONNECT = b"retry: 1000\n\n"  # milliseconds
READ_WITHIN_S = 10.0  # a client that reads nothing for so long is disconnected to free its slot
_LAST_WRITE_S = 1.0


async def send_events(
    events: AsyncGenerator[bytes], drain: Drain, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send the events. Does not close the generator, but does not use it after it returns."""
    headers = [CONTENT_TYPE, (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope.get("head"):
        await send(_body(b"", more=False))
        return
    draining = asyncio.ensure_future(drain.announced.wait())
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    coming: asyncio.Future[bytes] | None = None
    try:
        while not draining.done() and not gone.done():
            coming = asyncio.ensure_future(anext(events, b""))
            await asyncio.wait({coming, draining, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                break
            event = coming.result()
            if not event:
                await _sent(send, _body(b"", more=False))
                return
            if not await _sent(send, _body(event), READ_WITHIN_S):
                return
        if draining.done() and await _sent(send, _body(RECONNECT)):
            await _sent(send, _body(b"", more=False))
    finally:
        tasks: list[asyncio.Future[Any]] = [draining, gone]
        tasks += [coming] if coming is not None else []
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _sent(send: Send, message: Message, within_s: float = _LAST_WRITE_S) -> bool:
    """Send a message; False if the client did not read within the time."""
    try:
        async with asyncio.timeout(within_s):
            await send(message)
    except TimeoutError:
        return False
    return True


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
