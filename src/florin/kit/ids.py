"""Ids: time-ordered UUIDs (RFC 9562, version 7) behind a prefix that names their kind.

In the database a plain uuid; in public `crd_` and its 32 hexadecimal digits, which sort by time.
"""

import os
import time
from uuid import UUID

NONE = UUID(int=0)  # stands where there is no object: nothing ever has it

_DIGITS = 32
_HEXADECIMAL = frozenset("0123456789abcdef")
_COUNTER_MAX = 0xFFF  # 12 bits
_POOL = 4096  # bytes of randomness fetched at once: a call of the system costs more than an id

_last_ms = 0
_counter = 0
_random = b""
_used = 0


def new_id() -> UUID:
    """Make an id. Ids of one process ascend, also within a millisecond; 62 bits are random."""
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
    """Read the public form; None where no object of that kind can have this id."""
    digits = text[len(prefix) + 1 :]
    if len(digits) != _DIGITS or not text.startswith(f"{prefix}_"):
        return None
    return UUID(hex=digits) if _HEXADECIMAL.issuperset(digits) else None


def _forget() -> None:
    """A forked child must not repeat its parent's randomness."""
    global _used  # noqa: PLW0603
    _used = _POOL


os.register_at_fork(after_in_child=_forget)
