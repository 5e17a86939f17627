"""Timing comparison: whether one kind of request takes longer than another on a busy machine.

Both kinds are sent in turns, so that anything that slows the machine slows both. The measure is the
share of pairs in which the first is slower (Mann-Whitney U): one half for equal distributions. It
is robust against outliers and independent of absolute times.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

Ask = Callable[[], Awaitable[Any]]
TRIES = 3


async def by_turns(one: Ask, other: Ask, rounds: int, *, before: Ask | None = None) -> float:
    """The share of pairs in which `one` was slower; `before` runs untimed before each request."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            if before is not None:
                await before()
            started = time.perf_counter()
            await (one, other)[which]()
            taken[which].append(time.perf_counter() - started)
    return often(*taken)


def often(one: list[float], other: list[float]) -> float:
    return sum(a > b for a in one for b in other) / (len(one) * len(other))


def chance(rounds: int) -> float:
    """The accepted distance from one half: five standard deviations of the measure."""
    return 5 * ((2 * rounds + 1) / (12 * rounds * rounds)) ** 0.5


async def alike(one: Ask, other: Ask, rounds: int, *, before: Ask | None = None) -> list[float]:
    """Empty if the times do not differ; else the measures of `TRIES` tries, all beyond chance: a
    real difference shows every time.
    """
    seen: list[float] = []
    while len(seen) < TRIES:
        seen.append(await by_turns(one, other, rounds, before=before))
        if abs(seen[-1] - 0.5) < chance(rounds):
            return []
    return seen
