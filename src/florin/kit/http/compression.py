"""Compression: gzip for large responses that contain no secret.

Only lists and documents are compressed, never a single object: a compressed response with both a
secret and text that the caller chose reveals the secret by its length (BREACH). Lists contain no
secrets.
"""

import gzip
import re
from collections.abc import Callable
from typing import Any

from florin.kit.http.asgi import App, Message, Receive, Scope, Send

LEAST = 1400  # bytes: a smaller response fits into one packet uncompressed
_LEVEL = 5
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=([\d.]+)\s*)?(?:,|\Z)", re.IGNORECASE)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header accepts gzip (RFC 9110, 12.5.3)."""
    if re.search(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|\Z)", accept_encoding, re.IGNORECASE):
        return False
    match = _GZIP.search(accept_encoding)
    return match is not None and (match.group(1) is None or match.group(1).strip("0.") != "")


def compress_responses(app: App, may: Callable[[str], bool]) -> App:
    """Wrap an application; `may` returns for a route's template whether to compress its answers."""

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
        accepted = [value for name, value in scope["headers"] if name == b"accept-encoding"]
        if len(body) >= LEAST and accepts_gzip(b",".join(accepted).decode("latin-1")):
            body = gzip.compress(body, _LEVEL, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", str(len(body)).encode()))
    start["headers"] = headers
    return body
