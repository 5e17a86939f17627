"""Ranks: whether one kind of request takes longer than another, on a machine that is busy.

Both are asked by turns, so that whatever slows the machine slows both; compared is how often the
one was slower, of all pairs (Mann and Whitney's measure): one half for equals, whatever the times
are. No single outlier moves it, and no absolute time is in it.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

Ask = Callable[[], Awaitable[Any]]
TRIES = 3


async def by_turns(one: Ask, other: Ask, rounds: int, *, before: Ask | None = None) -> float:
    """How often the one took longer than the other; `before` each, something that takes no time."""
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
    """How far equals stray from one half: five of the measure's deviations."""
    return 5 * ((2 * rounds + 1) / (12 * rounds * rounds)) ** 0.5


async def alike(one: Ask, other: Ask, rounds: int, *, before: Ask | None = None) -> list[float]:
    """Nothing where time does not tell them apart; else the measures of `TRIES` tries, all beyond
    chance: what differs, differs each time.
    """
    seen: list[float] = []
    while len(seen) < TRIES:
        seen.append(await by_turns(one, other, rounds, before=before))
        if abs(seen[-1] - 0.5) < chance(rounds):
            return []
    return seen
