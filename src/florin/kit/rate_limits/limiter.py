"""Limiter: how often something may be tried before whoever tries it is refused for a while.

GCRA, the generic cell rate algorithm: of each subject one number is kept, the instant at which all
it has used up is paid off. Each count moves it by `per_s / most` seconds; a subject whose debt
would exceed `per_s` is refused. So at most `most` at once, and in the long run `most` every `per_s`
seconds: there is no edge of a window at which twice as much fits, and what slipped through at
once is paid for afterwards.

The number lies in Valkey, whose clock counts for all instances. A process remembers what it was
last told, so that who is far from his limit costs a look into a dictionary and no message; who is
near it is asked about. Without Valkey, or while it is slow, each process counts by itself, every
count `shares` times as dear: an instance then allows its share of the limit.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from florin.kit.errors import RateLimited
from florin.kit.observability import metrics
from florin.kit.rate_limits.store import GcraStore

KNOWN_MAX = 20_000  # subjects remembered by a process, a few MB
DEBT_MAX = 12  # times the limit's period: nobody is refused for longer than that


@dataclass(frozen=True, slots=True)
class Limit:
    """`most` at once and `most` every `per_s` seconds in the long run; a `most` of 0: no limit."""

    kind: str
    max: int
    per_s: float = 600

    @property
    def unit_s(self) -> float:
        """What one count costs."""
        return self.per_s / self.max


Subject = tuple[Limit, str]


class RateLimiter:
    """Counts, in Valkey where it can."""

    def __init__(
        self,
        client: Any | None,
        *,
        shares: int = 4,
        patience_s: float = 0.005,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shares = shares
        self._now = now
        self._due: dict[str, float] = {}  # by key: when all is paid off, on this process's clock
        self._shared = GcraStore(client, patience_s=patience_s, learnt=self._remember)

    @property
    def idle(self) -> bool:
        """Nobody is known to have used up anything: nobody can be refused."""
        return not self._due

    async def blocked(self, *subjects: Subject, sure: bool = False) -> int | None:
        """Whether one of these must wait before it may try again; for how many seconds.

        Whoever is not known here to have used up half of its limit is not asked about, unless
        `sure`: then Valkey is asked each time, for what is rare and dear, such as a login.
        """
        waits = [await self._wait(*each, sure=sure) for each in subjects if each[0].max]
        return _seconds(waits)

    async def count(self, *subjects: Subject, times: float = 1) -> int | None:
        """Count what each of these did; how long it must wait when that was too much.

        What was counted has happened: a subject that gets a time here went over its limit by it,
        perhaps because others of its tries were under way at the same moment.
        """
        counted = [(limit, subject) for limit, subject in subjects if limit.max]
        debts = await asyncio.gather(*(self._add(*each, times) for each in counted))
        return _seconds(
            [
                debt - limit.per_s + limit.unit_s if debt > limit.per_s + _ROUNDING_S else 0
                for (limit, _), debt in zip(counted, debts, strict=True)
            ]
        )

    async def acquire(self, limit: Limit, subject: str) -> None:
        """Count one and refuse what is too much. Raises RateLimited."""
        if not limit.max:
            return
        wait = await self.blocked((limit, subject)) or await self.count((limit, subject))
        if wait is not None:
            raise rate_limit_refusal(limit.kind, wait)

    async def forgive(self, limit: Limit, subject: str) -> None:
        """Forget what a subject did. Another process may remember it until it asks again."""
        key = limit_key(limit, subject)
        self._due.pop(key, None)
        await self._shared.forget(key)

    async def _wait(self, limit: Limit, subject: str, *, sure: bool) -> float:
        key = limit_key(limit, subject)
        debt = self._debt(key)
        alone = self._shared.away
        unit = self._unit(limit, alone=alone)
        if debt + unit <= limit.per_s + _ROUNDING_S:
            if alone or (debt < limit.per_s / 2 and not sure):
                return 0
            told = await self._shared.add(key, 0, limit.per_s * DEBT_MAX)
            debt = self._debt(key) if told is None else told
            unit = self._unit(limit, alone=self._shared.away)
        return max(debt + unit - limit.per_s - _ROUNDING_S, 0)

    async def _add(self, limit: Limit, subject: str, times: float) -> float:
        key = limit_key(limit, subject)
        told = await self._shared.add(key, times * limit.unit_s, limit.per_s * DEBT_MAX)
        if told is not None:
            return told
        # What was asked and is late is counted there, and replaces what is counted here.
        alone = self._shared.away
        if alone:
            metrics.limits_alone.inc()
        unit = self._unit(limit, alone=alone)
        debt = min(self._debt(key) + times * unit, limit.per_s * DEBT_MAX)
        self._remember(key, debt)
        return debt

    def _unit(self, limit: Limit, *, alone: bool) -> float:
        return min(limit.unit_s * self._shares, limit.per_s) if alone else limit.unit_s

    def _debt(self, key: str) -> float:
        due = self._due.get(key)
        if due is None:
            return 0
        debt = due - self._now()
        if debt <= 0:
            del self._due[key]
        return max(debt, 0)

    def _remember(self, key: str, debt: float) -> None:
        self._due.pop(key, None)
        if debt <= 0:
            return
        if len(self._due) >= KNOWN_MAX:
            now = self._now()
            for paid in [each for each, due in self._due.items() if due <= now]:
                del self._due[paid]
            while len(self._due) >= KNOWN_MAX * 9 // 10:
                del self._due[next(iter(self._due))]  # the one that was counted longest ago
        self._due[key] = self._now() + debt


_ROUNDING_S = 0.002  # the server counts milliseconds


def limit_key(limit: Limit, subject: str) -> str:
    """Where a subject's number lies; in a cluster whatever is of one subject lies together."""
    return f"florin:limit:{{{limit.kind}:{subject}}}"


def rate_limit_refusal(kind: str, wait_s: int) -> RateLimited:
    """The refusal of somebody who must wait."""
    metrics.limited.labels(kind).inc()
    return RateLimited(
        f"too many attempts; try again in {wait_s} s",
        extra={"retry_after": wait_s},
        retry_after_s=wait_s,
    )


def _seconds(waits: list[float]) -> int | None:
    longest = max(waits, default=0)
    return math.ceil(longest) if longest > 0 else None
