"""Limiter: the rate limits of callers, counted in Valkey for all instances.

GCRA, the generic cell rate algorithm: each subject has one number, the instant at which its debt is
paid off. Each count moves it by `per_s / max` seconds; a subject whose debt would exceed `per_s` is
refused. So a subject may do `max` at once, and in the long run `max` every `per_s` seconds. There
is no window boundary at which twice as much passes, and an overrun by concurrent requests is paid
off afterwards.

The number is stored in Valkey, whose clock counts for all instances. A process caches the last
answer: a subject far from its limit costs a dictionary lookup and no round trip, one near it is
looked up in Valkey. Without Valkey, or while it is slow, each process counts alone and every count
costs `shares` times as much: an instance then allows its share of the limit.
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

KNOWN_MAX = 20_000  # subjects cached by a process, a few MB
DEBT_MAX = 12  # times the limit's period: no subject is refused for longer than that


@dataclass(frozen=True, slots=True)
class Limit:
    """`max` at once and `max` every `per_s` seconds in the long run; a `max` of 0: no limit."""

    kind: str
    max: int
    per_s: float = 600

    def __post_init__(self) -> None:
        metrics.limited.labels(self.kind)  # 0 from the start, so that the first refusal counts

    @property
    def unit_s(self) -> float:
        """The debt of one count, in seconds."""
        return self.per_s / self.max


Subject = tuple[Limit, str]


class RateLimiter:
    """Counts in Valkey, or in this process while Valkey is unavailable."""

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
        self._due: dict[
            str, float
        ] = {}  # by key: when the debt is paid off, on this process's clock
        self._shared = GcraStore(client, patience_s=patience_s, learnt=self._remember)

    @property
    def idle(self) -> bool:
        """Whether no subject has a known debt, so that none can be refused."""
        return not self._due

    async def blocked(self, *subjects: Subject, sure: bool = False) -> int | None:
        """How many seconds the subjects must wait before the next attempt; None for no wait.

        A subject that by the cache used less than half of its limit is not looked up in Valkey,
        unless `sure`: for rare and expensive operations, such as a login.
        """
        waits = [await self._wait(*each, sure=sure) for each in subjects if each[0].max]
        return _seconds(waits)

    async def count(self, *subjects: Subject, times: float = 1) -> int | None:
        """Count what each subject did; return the seconds to wait if that exceeded a limit.

        The count stays even then. A subject may exceed its limit here after `blocked` allowed it,
        because of its concurrent attempts.
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
        """Count one, or refuse it. Raises RateLimited."""
        if not limit.max:
            return
        wait = await self.blocked((limit, subject)) or await self.count((limit, subject))
        if wait is not None:
            raise rate_limit_refusal(limit.kind, wait)

    async def forgive(self, limit: Limit, subject: str) -> None:
        """Clear the debt of a subject. Other processes may cache it until their next lookup."""
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
            shared_debt = await self._shared.add(key, 0, limit.per_s * DEBT_MAX)
            debt = self._debt(key) if shared_debt is None else shared_debt
            unit = self._unit(limit, alone=self._shared.away)
        return max(debt + unit - limit.per_s - _ROUNDING_S, 0)

    async def _add(self, limit: Limit, subject: str, times: float) -> float:
        key = limit_key(limit, subject)
        shared_debt = await self._shared.add(key, times * limit.unit_s, limit.per_s * DEBT_MAX)
        if shared_debt is not None:
            return shared_debt
        # A late answer of Valkey includes this count and replaces the one kept here.
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
                del self._due[next(iter(self._due))]  # the subject counted least recently
        self._due[key] = self._now() + debt


_ROUNDING_S = 0.002  # the server counts milliseconds


def limit_key(limit: Limit, subject: str) -> str:
    """The Valkey key of a subject; the braces keep a subject on one cluster node."""
    return f"florin:limit:{{{limit.kind}:{subject}}}"


def rate_limit_refusal(kind: str, wait_s: int) -> RateLimited:
    """The refusal of a caller that must wait."""
    metrics.limited.labels(kind).inc()
    return RateLimited(
        f"Too many attempts; try again in {wait_s} s",
        extra={"retry_after": wait_s},
        retry_after_s=wait_s,
    )


def _seconds(waits: list[float]) -> int | None:
    longest = max(waits, default=0)
    return math.ceil(longest) if longest > 0 else None
