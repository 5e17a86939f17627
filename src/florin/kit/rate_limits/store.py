"""Store: the numbers that limits are made of, in Valkey: see kit/limits.

Nobody waits long for them: `patience_s`, then the caller goes on without; an answer that comes
later is learnt from all the same. After an error or late answers Valkey is left alone for a while.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded
from florin.kit.observability import logging

SLOW_MAX = 3  # answers that came too late in a row before Valkey is left alone
REST_S = 1.0  # how long it is then left alone
_TOGETHER_MAX = 16  # keys of one call, each on a connection of its own: a cluster has many servers
_WAITING_MAX = 1000

# One key, one number: milliseconds of the server's clock. ARGV: what to add, the most there may be.
# Answers the debt in milliseconds.
_SCRIPT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local more = tonumber(ARGV[1])
if more > 0 then
  due = math.min(due + more, now + tonumber(ARGV[2]))
  redis.call('SET', KEYS[1], string.format('%d', due), 'PX', due - now + 1000)
end
return due - now
"""

_log = logging.get_logger()


class _More(NamedTuple):
    key: str
    ms: int
    most_ms: int


class GcraStore:
    """Adds to debts. `learnt(key, seconds)` hears of every answer, however late."""

    def __init__(
        self, client: Any | None, *, patience_s: float, learnt: Callable[[str, float], None]
    ) -> None:
        self._client = client
        self._patience_s = patience_s
        self._learnt = learnt
        self._calls: Batcher[_More, float | None] = Batcher(
            self._add, batch_max=_TOGETHER_MAX, in_flight_max=2, waiting_max=_WAITING_MAX
        )
        self._asking: set[asyncio.Task[float | None]] = set()
        self._rest_until = 0.0
        self._slow = 0

    @property
    def away(self) -> bool:
        """There is no Valkey, or it is left alone."""
        return self._client is None or time.monotonic() < self._rest_until

    async def add(self, key: str, more_s: float, most_s: float) -> float | None:
        """Add to a debt, to `most_s` at most; what it is then, or None when nobody says so."""
        if self.away:
            return None
        more = _More(key, math.ceil(more_s * 1000), math.ceil(most_s * 1000))
        task = asyncio.ensure_future(self._submit(more))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        done, _ = await asyncio.wait({task}, timeout=self._patience_s)
        if done:
            self._slow = 0
            return task.result()
        self._slow += 1
        if self._slow >= SLOW_MAX:
            self._rest("it is slow")
        return None

    async def forget(self, key: str) -> None:
        if self.away:
            return
        assert self._client is not None
        try:
            async with asyncio.timeout(self._patience_s):
                await self._client.delete(key)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(str(error) or type(error).__name__)

    async def _submit(self, more: _More) -> float | None:
        try:
            return await self._calls.submit(more)
        except Overloaded:
            return None

    async def _add(self, items: list[_More]) -> Sequence[float | None]:
        """One question a key, however many count on it at once; each is told its own debt."""
        sums: dict[str, int] = {}
        for item in items:
            sums[item.key] = sums.get(item.key, 0) + item.ms
        most = {item.key: item.most_ms for item in items}
        told = await asyncio.gather(*(self._eval(key, sums[key], most[key]) for key in sums))
        debts = dict(zip(sums, told, strict=True))
        answers: list[float | None] = []
        for item in items:
            sums[item.key] -= item.ms  # what was added after it
            debt = debts[item.key]
            answers.append(None if debt is None else max(debt - sums[item.key] / 1000, 0))
        return answers

    async def _eval(self, key: str, more_ms: int, most_ms: int) -> float | None:
        assert self._client is not None
        try:
            debt = int(await self._client.eval(_SCRIPT, 1, key, more_ms, most_ms)) / 1000
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(str(error) or type(error).__name__)
            return None
        self._learnt(key, debt)
        return debt

    def _rest(self, why: str) -> None:
        if not self.away:
            _log.warning("limits are counted by this process alone", why=why)
        self._rest_until = time.monotonic() + REST_S
        self._slow = 0
