"""Constant time: response times that do not reveal the work done (timing attacks).

A response is sent a multiple of STEP_S after its request arrived. Different work within one step
takes the same time; longer work reveals only the step in which it ended.
"""

import asyncio
import time

STEP_S = 0.05


def start_timer() -> float:
    """The start of the work, for `pad_response_time`."""
    return time.monotonic()


async def pad_response_time(began: float) -> None:
    """Wait for the end of the current step."""
    await asyncio.sleep(STEP_S - (start_timer() - began) % STEP_S)
