"""Polling: until what another process does can be seen in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from florin.ops.system.console import OperatorError


async def until(
    true: Callable[[], Awaitable[bool]], *, within_s: float, look_s: float, otherwise: str
) -> float:
    """Return when it was seen, on the monotonic clock; Unable says why it never was."""
    give_up = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > give_up:
            raise OperatorError(otherwise)
        await asyncio.sleep(look_s)
    return time.monotonic()
