"""Compression: gzip for what is large and holds no secret.

Only lists and documents are compressed, never a single object: an answer with a code or a secret
beside something the caller chose would tell the secret by its length (BREACH). Lists show neither.
"""

import gzip
import re
from collections.abc import Callable
from typing import Any

from florin.kit.http.asgi import App, Message, Receive, Scope, Send

LEAST = 1400  # bytes: less fits into one packet either way
_LEVEL = 5
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=([\d.]+)\s*)?(?:,|\Z)", re.IGNORECASE)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is wanted (RFC 9110, 12.5.3)."""
    if re.search(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|\Z)", accept_encoding, re.IGNORECASE):
        return False
    found = _GZIP.search(accept_encoding)
    return found is not None and (found.group(1) is None or found.group(1).strip("0.") != "")


def compress_responses(app: App, may: Callable[[str], bool]) -> App:
    """Wrap an application; `may` says of a route's template whether its answers are compressed."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        held: dict[str, Any] = {}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.update(message)
                return
            if held:
                start, body = dict(held), message.get("body", b"")
                held.clear()
                whole = not message.get("more_body", False)
                if whole and start["status"] == 200 and may(scope.get("path_template", "")):  # noqa: PLR2004 -- OK
                    message = {**message, "body": _shrink(start, body, scope)}
                await send(start)
            await send(message)

        await app(scope, receive, answer)

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            await wrapped(scope, receive, send)
        else:
            await app(scope, receive, send)

    return chosen


def _shrink(start: Message, body: bytes, scope: Scope) -> bytes:
    headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
    if not any(name == b"content-encoding" for name, _ in headers):
        headers.append((b"vary", b"Accept-Encoding"))
        asked = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if len(body) >= LEAST and accepts_gzip(asked.decode("latin-1")):
            body = gzip.compress(body, _LEVEL, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", str(len(body)).encode()))
    start["headers"] = headers
    return body
