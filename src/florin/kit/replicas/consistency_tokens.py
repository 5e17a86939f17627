"""Consistency tokens: the log position that each caller, and each object's callers, last saw.

They are stored in Valkey for all instances, and remain correct when Valkey loses data. Positions
are the scores in a few sorted sets; `ZADD GT` keeps the highest without a script. Each set also has
a floor: the position assumed for every name that is not in the set. A set that was emptied, evicted
or lost has no floor; it gets the primary's position as its new floor before it is used. A promoted
replica of Valkey may lack the last writes of its master. A process reaches it by a new connection,
and after each new connection the process uses the primary's position as its own floor. A set that
is too large is trimmed after its floor was raised.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol
from zlib import crc32

from florin.kit.batcher import Batcher
from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import BROKEN, PoolTimeout, position_lsn
from florin.kit.valkey.client import GONE, valkey_key

SHARDS = 16
MEMBERS_MAX = 20_000  # of a set, before it is trimmed
_FLOOR: Final = ""
_log = logging.get_logger()


class PipelineClient(Protocol):
    """The Valkey client as used here (kit/valkey)."""

    connects: int

    def pipeline(self, transaction: bool = ...) -> Any: ...


class ConsistencyTokens:
    """Stores positions by name. `position` reads the primary's log position."""

    def __init__(self, store: PipelineClient, position: Callable[[], Awaitable[str]]) -> None:
        self._store = store
        self._position = position
        self._connects = -1
        self._floor = 0
        self._writes: Batcher[tuple[Sequence[str], int], bool] = Batcher(self._write)
        self._questions: Batcher[Sequence[str], int | None] = Batcher(self._read)

    async def record(self, names: Sequence[str], lsn: int) -> bool:
        """Store that `names` saw the log up to `lsn`; False if that failed."""
        return await self._writes.submit((names, lsn))

    async def required_positions(self, names: Sequence[str]) -> int | None:
        """The LSN a replica must have replayed to serve `names`; None: use the primary."""
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
            replies = await pipe.execute()
        except GONE:
            metrics.tokens_failed.inc(len(batch))
            return [False] * len(batch)
        for shard, size in zip(sets, replies[1::2], strict=True):
            if size > MEMBERS_MAX:
                await self._trim(shard)
        return [True] * len(batch)

    async def _read(self, batch: list[Sequence[str]]) -> list[int | None]:
        sets: dict[int, dict[str, None]] = {}
        for names in batch:
            for name in names:
                sets.setdefault(_shard(name), {})[name] = None
        try:
            places, emptied = await self._fetch(sets)
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
            else max(self._floor, *(places[name] for name in names))
            for names in batch
        ]

    async def _fetch(self, sets: dict[int, dict[str, None]]) -> tuple[dict[str, int], set[int]]:
        """The positions by name, and the sets without a floor."""
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
        """Set the floor of sets that may have lost data to the primary's position."""
        connects = self._store.connects
        lsn = position_lsn(await self._position())
        pipe = self._store.pipeline(transaction=False)
        for shard in emptied:
            pipe.zadd(_key(shard), {_FLOOR: lsn}, gt=True)
        await pipe.execute()
        # If connections were made meanwhile, the next read comes here again.
        self._connects, self._floor = connects, max(self._floor, lsn)

    async def _trim(self, shard: int) -> None:
        """Remove the older half of a set, after raising its floor above the removed positions."""
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
