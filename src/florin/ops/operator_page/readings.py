"""Readings: the last value of one source and when; a failed reading keeps the earlier value."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from florin.ops.operator_page.document import OLD_S, Age

Value = TypeVar("Value")
_RETRY_S = 1.0


@dataclass(slots=True)
class Reading(Generic[Value]):
    """The last value of a source. `at` is Unix time, 0 for never."""

    value: Value
    at: float = 0.0
    error: str = ""

    def keep(self, value: Value, at: float | None = None) -> None:
        self.value, self.at, self.error = value, time.time() if at is None else at, ""

    def age(self, now: float) -> Age:
        if not self.at:
            return Age(at=None, age_s=None, old=True, error=self.error)
        age_s = max(0.0, now - self.at)
        return Age(
            at=format_time(self.at), age_s=round(age_s, 1), old=age_s > OLD_S, error=self.error
        )


async def keep_reading(
    into: Reading[Value],
    read: Callable[[], Awaitable[Value]],
    *,
    every_s: float,
    within_s: float,
    done: Callable[[], None],
) -> None:
    """Read until cancelled. Any exception of a source is its error, which the page shows."""
    while True:
        try:
            async with asyncio.timeout(within_s):
                into.keep(await read())
        except TimeoutError:
            into.error = f"no answer within {within_s:g} s"
        except Exception as error:  # noqa: BLE001 -- see the docstring
            into.error = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        done()
        await asyncio.sleep(min(every_s, _RETRY_S) if into.error else every_s)


def format_time(at: float) -> str:
    """Return Unix time as RFC 3339 in UTC."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
