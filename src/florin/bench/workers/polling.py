"""Polling: wait until the effect of another process is visible in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from florin.ops.system.console import OperatorError


async def until(
    true: Callable[[], Awaitable[bool]], *, within_s: float, look_s: float, otherwise: str
) -> float:
    """Return the monotonic time at which `true` held. Raises OperatorError with `otherwise`."""
    give_up = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > give_up:
            raise OperatorError(otherwise)
        await asyncio.sleep(look_s)
    return time.monotonic()
