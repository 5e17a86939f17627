"""Waiting: poll for what happens in another task or process, which sets no event of this loop."""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any


async def until(true: Callable[[], Any], *, within_s: float = 120) -> Any:
    """Poll until the result, awaited if need be, is true; return it."""
    deadline = time.monotonic() + within_s
    while True:
        found = true()
        if isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)
