"""Constant time: answers that must not tell by their time what was done for them.

They leave at whole steps after their request came. Work that differs by less than what is left of
a step ends at the same instant; what takes longer still tells only which step it ended in.
"""

import asyncio
import time

STEP_S = 0.05


def start_timer() -> float:
    """When the work began."""
    return time.monotonic()


async def pad_response_time(began: float) -> None:
    """Wait for the end of the step."""
    await asyncio.sleep(STEP_S - (start_timer() - began) % STEP_S)
