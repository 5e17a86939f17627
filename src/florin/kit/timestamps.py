"""Timestamps: reading RFC 3339."""

import re
from contextlib import suppress
from datetime import UTC, datetime

from florin.kit.errors import InvalidRequest

# Beyond microseconds an instant is cut off: later ones would not be told apart in the books.
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?\d*(Z|[ +-]\d{2}:\d{2})", re.ASCII
)


def parse_instant(text: str, *, param: str) -> datetime:
    """Read an instant with its offset. Raises InvalidRequest."""
    # A plus sign in a query reads as a space when it was not escaped.
    if match := _INSTANT.fullmatch(text.upper()):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat("".join(match.groups("")).replace(" ", "+")).astimezone(
                UTC
            )
    right = "an RFC 3339 instant with its offset, such as 2026-01-31T12:00:00Z"
    raise InvalidRequest(f"give {right}, not {text[:40]!r}", param=param)
