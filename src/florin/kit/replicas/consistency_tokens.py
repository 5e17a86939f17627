"""Consistency tokens: how far the log was when a caller, or anybody at an object, last saw
something.

Kept in Valkey, where every instance finds them, and exact about what Valkey may have forgotten. The
places are members of a few sorted sets; `ZADD GT` keeps the furthest without a script. Beside them
each set has a floor: whatever it does not name may have been seen up to there. A set that was
emptied, evicted or lost has no floor, and gets the primary's position as its new one before anybody
trusts it. A promoted replica of Valkey may lack what its master was told last: it is reached by a
new connection, and after each new connection a process takes the primary's position for its own
floor. A set is cut down by raising its floor first.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol
from zlib import crc32

from florin.kit.batcher import Batcher
from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import BROKEN, PoolTimeout, position_lsn
from florin.kit.valkey.client import GONE, valkey_key

SHARDS = 16
MEMBERS_MAX = 20_000  # of a set, before it is cut down
_FLOOR: Final = ""
_log = logging.get_logger()


class PipelineClient(Protocol):
    """What is asked of Valkey (kit/valkey)."""

    connects: int

    def pipeline(self, transaction: bool = ...) -> Any: ...


class ConsistencyTokens:
    """Keeps positions by name. `position` asks the primary how far its log is."""

    def __init__(self, store: PipelineClient, position: Callable[[], Awaitable[str]]) -> None:
        self._store = store
        self._position = position
        self._connects = -1
        self._floor = 0
        self._writes: Batcher[tuple[Sequence[str], int], bool] = Batcher(self._write)
        self._questions: Batcher[Sequence[str], int | None] = Batcher(self._ask)

    async def record(self, names: Sequence[str], lsn: int) -> bool:
        """Keep that these saw the log up to there; False when that could not be kept."""
        return await self._writes.submit((names, lsn))

    async def required_positions(self, names: Sequence[str]) -> int | None:
        """How far a server must have got to answer these; None when only the primary can know."""
        return await self._questions.submit(names)

    async def _write(self, batch: list[tuple[Sequence[str], int]]) -> list[bool]:
        sets: dict[int, dict[str, int]] = {}
        for names, lsn in batch:
            for name in names:
                places = sets.setdefault(_shard(name), {})
                places[name] = max(lsn, places.get(name, 0))
        pipe = self._store.pipeline(transaction=False)
        for shard, places in sets.items():
            pipe.zadd(_key(shard), places, gt=True)
            pipe.zcard(_key(shard))
        try:
            said = await pipe.execute()
        except GONE:
            metrics.tokens_failed.inc(len(batch))
            return [False] * len(batch)
        for shard, size in zip(sets, said[1::2], strict=True):
            if size > MEMBERS_MAX:
                await self._cut(shard)
        return [True] * len(batch)

    async def _ask(self, batch: list[Sequence[str]]) -> list[int | None]:
        sets: dict[int, dict[str, None]] = {}
        for names in batch:
            for name in names:
                sets.setdefault(_shard(name), {})[name] = None
        try:
            found, emptied = await self._look(sets)
            if self._store.connects != self._connects:
                await self._distrust(set(range(SHARDS)) if self._connects < 0 else emptied)
                return [None] * len(batch)
            if emptied:
                _log.warning("consistency tokens were lost", sets=len(emptied))
                await self._distrust(emptied)
        except (*GONE, *BROKEN, PoolTimeout):
            return [None] * len(batch)
        return [
            None
            if any(_shard(name) in emptied for name in names)
            else max(self._floor, *(found[name] for name in names))
            for names in batch
        ]

    async def _look(self, sets: dict[int, dict[str, None]]) -> tuple[dict[str, int], set[int]]:
        """The places by name, and the sets that have no floor."""
        pipe = self._store.pipeline(transaction=False)
        for shard, names in sets.items():
            pipe.zmscore(_key(shard), [_FLOOR, *names])
        found: dict[str, int] = {}
        emptied: set[int] = set()
        for (shard, names), scores in zip(sets.items(), await pipe.execute(), strict=True):
            floor, *places = scores
            if floor is None:
                emptied.add(shard)
                continue
            for name, place in zip(names, places, strict=True):
                found[name] = int(floor if place is None else max(place, floor))
        return found, emptied

    async def _distrust(self, emptied: set[int]) -> None:
        """Give sets that may have forgotten a floor that covers all they could have known."""
        connects = self._store.connects
        lsn = position_lsn(await self._position())
        pipe = self._store.pipeline(transaction=False)
        for shard in emptied:
            pipe.zadd(_key(shard), {_FLOOR: lsn}, gt=True)
        await pipe.execute()
        # Connections made meanwhile lead us here once more.
        self._connects, self._floor = connects, max(self._floor, lsn)

    async def _cut(self, shard: int) -> None:
        """Forget half of a set, the older places, raising its floor to what is forgotten."""
        try:
            pipe = self._store.pipeline(transaction=False)
            pipe.zrange(_key(shard), MEMBERS_MAX // 2, MEMBERS_MAX // 2, withscores=True)
            ((_, middle),) = (await pipe.execute())[0]
            pipe = self._store.pipeline(transaction=False)
            pipe.zadd(_key(shard), {_FLOOR: middle}, gt=True)
            pipe.zremrangebyscore(_key(shard), "-inf", f"({middle}")
            await pipe.execute()
        except (*GONE, ValueError):
            return  # the next write tries again


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS


def _key(shard: int) -> str:
    return valkey_key("consistency", f"{shard}")
