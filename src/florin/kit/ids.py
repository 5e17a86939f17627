"""Ids: time-ordered UUIDs (RFC 9562, version 7) behind a prefix that names their kind.

In the database a plain uuid; in public `crd_` and 26 characters of base32hex, which sort by time.
"""

import os
import time
from base64 import b32hexdecode, b32hexencode
from uuid import UUID

_LENGTH = 26  # 128 bits in base32, padding cut off
_last_ms = 0
_counter = 0


def new() -> UUID:
    """Make an id. Ids of one process ascend, also within a millisecond."""
    global _last_ms, _counter  # noqa: PLW0603 -- one generator a process is what orders its ids
    now_ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    if now_ms > _last_ms:
        _last_ms = now_ms
        _counter = random >> 69  # 11 random bits, so that 2,048 increments fit below 2^12
    else:
        _counter += 1
        if _counter > 0xFFF:  # noqa: PLR2004 -- the counter's 12 bits are used up
            _last_ms += 1
            _counter = 0
    return UUID(
        int=_last_ms << 80 | 0x7 << 76 | _counter << 64 | 0x2 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    )


def show(prefix: str, uuid: UUID) -> str:
    """Return the public form, `crd_0692…`."""
    return f"{prefix}_{b32hexencode(uuid.bytes)[:_LENGTH].decode().lower()}"


def parse(prefix: str, text: str) -> UUID | None:
    """Read the public form; None where no object of that kind can have this id."""
    start = len(prefix) + 1
    if len(text) != start + _LENGTH or not text.startswith(prefix + "_"):
        return None
    body = text[start:]
    if body != body.lower() or not body.isascii():
        return None
    try:
        uuid = UUID(bytes=b32hexdecode(body.upper() + "======"))
    except ValueError:
        return None
    return uuid if show(prefix, uuid) == text else None
