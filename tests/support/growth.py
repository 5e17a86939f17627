"""Growth: check that the cost of a function grows at most linearly with its input."""

import gc
import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")

_TRIES = 7
_TIMES = 4  # the input of the second measurement, as a multiple of the first's
_AT_MOST = 8  # times the cost: 4 where it is linear, 16 where it grows with the square
_NOISE_S = 0.002


def cost_s(work: Callable[[Input], object], given: Input) -> float:
    """The least CPU time of this process in some tries, independent of other load."""
    least = float("inf")
    gc.disable()
    try:
        for _ in range(_TRIES):
            started = time.process_time()
            work(given)
            least = min(least, time.process_time() - started)
    finally:
        gc.enable()
    return least


def assert_linear(work: Callable[[Input], object], make: Callable[[int], Input], size: int) -> None:
    """Compare the cost of `size` with the cost of four times as much."""
    small, large = cost_s(work, make(size)), cost_s(work, make(_TIMES * size))
    assert large <= _AT_MOST * small + _NOISE_S, f"{small * 1000:.2f} ms, then {large * 1000:.2f}"
