"""Period sums: how the entries of a period changed what is owed on cards, by group.

A page shows them each time it is loaded, of a merchant with any number of entries. An entry never
changes, so the sums of what is settled are kept, and a page reads only what came since. They are
kept in the memory of the instance and shared through Valkey, so that an instance that has just
started reads only what came since, too. A shared sum may be of an earlier time: more is read then.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

import msgspec

from florin.kit.postgres.database import Database, parse_position
from florin.kit.valkey.shared_values import SharedValues

SUMS_KEPT_S = 7 * 86_400  # in Valkey
_KEPT_GROUPS = 40_000  # of all merchants
# Nothing is added any more at an instant that is so long ago: no transaction runs for so long.
_SETTLED = timedelta(hours=1)
_STEP = timedelta(minutes=10)  # the kept part of a period grows in such steps, at least
_PART = timedelta(days=31)  # and at most: what was read is kept though a later part takes too long

_CLUSTER = """
select system_identifier as system, current_database()::text as name from pg_control_system()
"""

Group = tuple[str, ...]
_Period = tuple[UUID, str, datetime, datetime]  # merchant, currency, begin, end
_Encoded = tuple[datetime, list[tuple[list[str], int, int]]]


@dataclass(frozen=True, slots=True)
class EntrySum:
    """Entries: how many, and by how much they changed what is owed on cards, in minor units."""

    entries: int
    change: int


Sums = Mapping[Group, EntrySum]
_NOTHING: Sums = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Settled:
    """The sums of a period from its begin to `until`."""

    until: datetime
    sums: Sums


def _encode(settled: _Settled) -> bytes:
    lines = [(group, each.entries, each.change) for group, each in settled.sums.items()]
    return msgspec.msgpack.encode((settled.until, lines))


def _decode(value: bytes) -> _Settled:
    until, lines = msgspec.msgpack.decode(value, type=_Encoded)
    return _Settled(until, {tuple(group): EntrySum(*rest) for group, *rest in lines})


class PeriodSums:
    """Sums of one statement for periods: its parameters are the merchant, the currency, the begin
    and the end; its columns the names of the group, `entries` and `change`.
    """

    def __init__(
        self,
        database: Database,
        sql: str,
        group: tuple[str, ...],
        shared: SharedValues | None = None,
    ) -> None:
        self._database = database
        self._shared = shared
        self._sql = sql
        self._group = group
        self._kept: OrderedDict[_Period, _Settled] = OrderedDict()
        self._groups = 0  # of all that is kept

    async def between(
        self,
        merchant: UUID,
        currency: str,
        begins: datetime,
        ends: datetime,
        *,
        now: datetime | None,
    ) -> Sums:
        """The sums of [begins, ends). `now`: of the merchant's clock; None if that clock was moved,
        for then a transaction that still runs may have a date of any time ago: nothing is kept.
        """
        if now is None:
            return await self._read(merchant, currency, begins, ends)
        key = (merchant, currency, begins, ends)
        shared = _SharedSums(self._database, self._shared, (self._sql, self._group, key))
        settled = await self._find(key, shared)
        until = min(ends, now - _SETTLED)
        while until - settled.until >= _STEP or settled.until < until == ends:
            part = min(until, settled.until + _PART)
            more = await self._read(merchant, currency, settled.until, part)
            settled = _Settled(part, add_sums(settled.sums, more))
            self._keep(key, settled)
            await shared.keep(settled)
        if settled.until == ends:
            return settled.sums
        latest = await self._read(merchant, currency, settled.until, ends)
        return add_sums(settled.sums, latest)

    async def _read(self, merchant: UUID, currency: str, begins: datetime, ends: datetime) -> Sums:
        rows = await self._database.all(self._sql, merchant, currency, begins, ends)
        return {
            tuple(row[name] for name in self._group): EntrySum(row["entries"], row["change"])
            for row in rows
        }

    async def _find(self, key: _Period, shared: "_SharedSums") -> _Settled:
        """What is kept of a period, here or by another instance."""
        settled = self._kept.get(key)
        if settled is not None:
            self._kept.move_to_end(key)
            return settled
        settled = await shared.find()
        if settled is not None:
            self._keep(key, settled)
            return settled
        return _Settled(key[2], _NOTHING)

    def _keep(self, key: _Period, settled: _Settled) -> None:
        before = self._kept.pop(key, None)
        self._groups += len(settled.sums) + 1 - (0 if before is None else len(before.sums) + 1)
        self._kept[key] = settled
        while self._groups > _KEPT_GROUPS:
            _, oldest = self._kept.popitem(last=False)
            self._groups -= len(oldest.sums) + 1


class _SharedSums:
    """What all instances keep of one period in Valkey, if there is one."""

    def __init__(
        self,
        database: Database,
        values: SharedValues | None,
        about: tuple[str, tuple[str, ...], _Period],
    ) -> None:
        self._database = database
        self._values = values
        self._about = about
        self._key: bytes | None = None

    async def find(self) -> _Settled | None:
        if self._values is None:
            return None
        found = await self._values.find(await self._find_key())
        return None if found is None else _decode(found)

    async def keep(self, settled: _Settled) -> None:
        if self._values is not None:
            await self._values.keep(await self._find_key(), _encode(settled))

    async def _find_key(self) -> bytes:
        """Another statement, as of another release, has keys of its own; so has each timeline of
        the database: it may have lost entries, as after a restore to an earlier instant. So has
        each cluster and database: a copy that was loaded from a dump begins at the first timeline.
        """
        if self._key is None:
            cluster = await self._database.one(_CLUSTER)
            assert cluster is not None
            timeline, _ = parse_position(await self._database.position())
            about = (self._about, tuple(cluster.values()), timeline)
            self._key = hashlib.sha256(msgspec.msgpack.encode(about)).digest()
        return self._key


def add_sums(some: Sums, more: Sums) -> Sums:
    """Add the sums of two parts of a time, group by group."""
    added = dict(some)
    for group, new in more.items():
        old = added.get(group, EntrySum(0, 0))
        added[group] = EntrySum(old.entries + new.entries, old.change + new.change)
    return added
