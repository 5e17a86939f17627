"""Store: the debts of rate limits in Valkey (GCRA, see limiter.py).

A caller waits at most `patience_s` and then continues without an answer; a late answer still
updates the cache. After an error or several late answers Valkey is not used for REST_S.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from florin.kit.batcher import Batcher
from florin.kit.errors import Overloaded
from florin.kit.observability import logging
from florin.kit.valkey import RedisError

SLOW_MAX = 3  # consecutive late answers before Valkey is not used for a while
REST_S = 1.0  # how long it is then not used
_TOGETHER_MAX = 16  # keys of one call, each on its own connection: a cluster has many servers
_WAITING_MAX = 1000

# One key holds one number: milliseconds of the server's clock. ARGV: the debt to add, the most debt
# allowed. Returns the debt in milliseconds.
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
    """Adds to debts. `learnt(key, seconds)` is called with every answer, late ones included."""

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
        """Whether there is no Valkey, or it is not used after failures."""
        return self._client is None or time.monotonic() < self._rest_until

    async def add(self, key: str, more_s: float, most_s: float) -> float | None:
        """Add to a debt, up to `most_s`; return the new debt, or None without an answer."""
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
        """One call per key for all concurrent counts; each item gets the debt after its own."""
        sums: dict[str, int] = {}
        for item in items:
            sums[item.key] = sums.get(item.key, 0) + item.ms
        most = {item.key: item.most_ms for item in items}
        replies = await asyncio.gather(*(self._eval(key, sums[key], most[key]) for key in sums))
        debts = dict(zip(sums, replies, strict=True))
        answers: list[float | None] = []
        for item in items:
            sums[item.key] -= item.ms  # now the sum of the later items
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
