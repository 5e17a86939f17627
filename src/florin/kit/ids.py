"""Ids: time-ordered UUIDs (RFC 9562, version 7) with a prefix that names their kind.

The database stores a plain uuid; the API shows `crd_` and 32 hexadecimal digits, which sort by
time.
"""

import os
import time
from uuid import UUID

from florin.kit.errors import NotFound

NONE = UUID(int=0)  # means "no object": no object has this id

_DIGITS = 32
_HEXADECIMAL = frozenset("0123456789abcdef")
_COUNTER_MAX = 0xFFF  # 12 bits
_POOL = 4096  # random bytes read at once: a system call costs more than making an id

_last_ms = 0
_counter = 0
_random = b""
_used = 0


def new_id() -> UUID:
    """Make an id. The ids of a process ascend, even within a millisecond; 62 bits are random."""
    global _last_ms, _counter, _random, _used  # noqa: PLW0603 -- one generator orders the ids
    now_ms = time.time_ns() // 1_000_000
    if _used + 10 > len(_random):
        _random, _used = os.urandom(_POOL), 0
    random = int.from_bytes(_random[_used : _used + 10], "big")
    _used += 10
    if now_ms > _last_ms:
        _last_ms = now_ms
        _counter = random >> 69  # 11 random bits leave room for 2,048 increments
    else:
        _counter += 1
        if _counter > _COUNTER_MAX:
            _last_ms += 1
            _counter = 0
    return UUID(
        int=_last_ms << 80 | 0x7 << 76 | _counter << 64 | 0x2 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    )


def show_id(prefix: str, uuid: UUID) -> str:
    """Return the public form, `crd_0692…`."""
    return f"{prefix}_{uuid.hex}"


def parse_id(prefix: str, text: str) -> UUID | None:
    """Parse the public form; None if no object of that kind can have this id."""
    digits = text[len(prefix) + 1 :]
    if len(digits) != _DIGITS or not text.startswith(f"{prefix}_"):
        return None
    return UUID(hex=digits) if _HEXADECIMAL.issuperset(digits) else None


def require_id(prefix: str, text: str) -> UUID:
    """Parse the public form of the id in a path. Raises NotFound."""
    uuid = parse_id(prefix, text)
    if uuid is None:
        raise NotFound
    return uuid


def _discard_random_bytes() -> None:
    """A forked child must not reuse its parent's random bytes."""
    global _used  # noqa: PLW0603
    _used = _POOL


os.register_at_fork(after_in_child=_discard_random_bytes)
