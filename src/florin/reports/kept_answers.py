"""Kept answers: each is kept for a multiple of the time that it took to read, so that looking at a
page often costs a bounded share of the database, and a small merchant sees each change at once. Of
each answer one reading runs at a time: who asks meanwhile waits for it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

_KEPT = 4_000  # answers, of all merchants
_COST_FACTOR = 20
_Key = tuple[UUID, str]
Answer = TypeVar("Answer")


class KeptAnswers(Generic[Answer]):
    """Answers by merchant and currency."""

    def __init__(self, read: Callable[[UUID, str], Awaitable[Answer]]) -> None:
        self._read = read
        self._kept: OrderedDict[_Key, tuple[float, Answer]] = OrderedDict()
        self._turns: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    async def find(self, merchant: UUID, currency: str) -> Answer:
        key = (merchant, currency)
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            known = self._kept.get(key)
            began = time.monotonic()
            if known is not None and known[0] > began:
                return known[1]
            found = await self._read(merchant, currency)
            ended = time.monotonic()
            self._keep(key, ended + _COST_FACTOR * (ended - began), found)
            return found

    def _keep(self, key: _Key, until: float, answer: Answer) -> None:
        self._kept[key] = (until, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
