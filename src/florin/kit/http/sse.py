"""SSE: answer with server-sent events (WHATWG HTML, 9.2), as long as all three sides are there.

An answer ends when its events do, when its reader goes away or does not read, and when this
instance leaves: then the reader is told to come back, and finds another one.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from florin.kit.http.asgi import Message, Receive, Scope, Send
from florin.kit.http.drain import Drain

KIND = "text/event-stream"
CONTENT_TYPE = (b"content-type", f"{KIND}; charset=utf-8".encode())
RECONNECT = b"retry: 1000\n\n"  # milliseconds
READ_WITHIN_S = 10.0  # whoever reads nothing for so long holds a place that others want
_FAREWELL_S = 1.0


async def send_events(
    events: AsyncGenerator[bytes], drain: Drain, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send the events; they are not closed here, but not used any more when this returns."""
    headers = [CONTENT_TYPE, (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope.get("head"):
        await send(_body(b"", more=False))
        return
    told = asyncio.ensure_future(drain.told.wait())
    gone = asyncio.ensure_future(_gone(receive))
    coming: asyncio.Future[bytes] | None = None
    try:
        while not told.done() and not gone.done():
            coming = asyncio.ensure_future(anext(events, b""))
            await asyncio.wait({coming, told, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                break
            said = coming.result()
            if not said:
                await _sent(send, _body(b"", more=False))
                return
            if not await _sent(send, _body(said), READ_WITHIN_S):
                return
        if told.done() and await _sent(send, _body(RECONNECT)):
            await _sent(send, _body(b"", more=False))
    finally:
        tasks: list[asyncio.Future[Any]] = [told, gone, *([coming] if coming is not None else [])]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _body(said: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": said, "more_body": more}


async def _sent(send: Send, message: Message, within_s: float = _FAREWELL_S) -> bool:
    """Whether it could be handed over: not where the reader has not read for too long."""
    try:
        async with asyncio.timeout(within_s):
            await send(message)
    except TimeoutError:
        return False
    return True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
