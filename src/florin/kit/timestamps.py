"""Timestamps: parsing RFC 3339."""

import re
from contextlib import suppress
from datetime import UTC, datetime

from florin.kit.errors import InvalidRequest

# Truncated to microseconds, the resolution of PostgreSQL's timestamps.
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?\d*(Z|[ +-]\d{2}:\d{2})", re.ASCII
)


def parse_instant(text: str, *, param: str) -> datetime:
    """Parse an instant with its UTC offset. Raises InvalidRequest."""
    # An unescaped plus sign in a query is decoded as a space.
    if match := _INSTANT.fullmatch(text.upper()):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat("".join(match.groups("")).replace(" ", "+")).astimezone(
                UTC
            )
    raise InvalidRequest(
        f"{param} must be an RFC 3339 instant with its offset, such as 2026-01-31T12:00:00Z,"
        f" not {text[:40]!r}",
        param=param,
    )


def in_utc(at: datetime, *, param: str) -> datetime:
    """The same instant in UTC. Raises InvalidRequest for one before year 1 or after 9999."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(f"{param} is out of range", param=param) from None
