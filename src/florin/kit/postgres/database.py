"""Database: the primary, transactions on it, and the position that proves what was seen."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from typing import Any, Protocol

from florin.kit.postgres import commit_tracking
from florin.kit.postgres.pool import (
    BROKEN,
    Connection,
    Pool,
    PoolTimeout,
    StatementTimeout,
    open_connection,
)
from florin.kit.postgres.pool_limits import PoolLimits

__all__ = [
    "BROKEN",
    "MAY_CALL",
    "Connection",
    "Database",
    "PoolLimits",
    "PoolTimeout",
    "Reader",
    "Row",
    "StatementTimeout",
    "Tx",
    "is_read_only",
    "latest_position",
    "open_connection",
    "parse_position",
    "position_lsn",
    "read_position",
]

REPEAT_FOR_S = 10.0  # how long a broken connection is tried again
_PAUSE_S = 0.05
_POSITION = re.compile(r"([0-9a-f]{1,8})\.([0-9a-f]{1,16})")

# What may run a second time where nobody knows whether it did: statements that call nothing of ours
# but these. All others are their caller's to repeat, who has a key, or a way to look.
MAY_CALL = ("clock", "metadata_token", "oldest_money", "queue_begin", "queue_facts")
_COMMENT = re.compile(r"--[^\n]*")
_READS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_ACTS = re.compile(
    r"\b(insert|update|delete|merge|nextval|setval|set_config|pg_notify|pg_\w*advisory\w*)\b"
    rf"|\bflorin\s*\.\s*(?!({'|'.join(MAY_CALL)})\b)\w+\s*\(",
    re.IGNORECASE,
)

Row = Mapping[str, Any]  # an asyncpg.Record, as far as anybody reads one


class Reader(Protocol):
    """What a function takes whose statements a replica may answer: kit/reads, or the Database.

    One that takes the Database asks the primary, always: whatever decides about money does.
    """

    async def all(self, sql: str, *args: object) -> Sequence[Row]: ...

    async def one(self, sql: str, *args: object) -> Row | None: ...

    def require_position(self, position: str) -> Any:
        """What is read from now on must hold all up to that position."""
        ...


class Tx:
    """A connection inside a transaction.

    Only Database.transaction() makes one, so that what must happen in a transaction says so in its
    type, and a function that talks to the network has none to give away.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._connection.fetch(sql, *args)

    async def one(self, sql: str, *args: object) -> Row | None:
        return await self._connection.fetchrow(sql, *args)

    async def value(self, sql: str, *args: object) -> Any:
        return await self._connection.fetchval(sql, *args)

    async def run(self, sql: str, *args: object) -> str:
        """Execute; return the command tag."""
        return await self._connection.execute(sql, *args)


class Database:
    """The primary, through one pool."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "florin",
        server: str = "primary",
        settings: Mapping[str, str] | None = None,
        reads: bool = False,
    ) -> None:
        """`server` names the pool in the metrics; `settings` are the server's, of its sessions.
        `reads`: for what is only read, see Pool.
        """
        self.limits = PoolLimits(url)
        self.name = name
        self.pool = Pool(
            self.limits, name=name, server=server, settings=settings or {}, reads=reads
        )

    def for_reads(self) -> "Database":
        """The same server, through a pool of its own for what is only read: see Pool."""
        made = copy(self)
        made.limits = self.limits.for_reads()
        made.pool = Pool(
            made.limits,
            name=f"{self.name} reads",
            server="primary reads",
            settings={"default_transaction_read_only": "on"},
            reads=True,
        )
        return made

    async def open(self) -> None:
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    def terminate(self) -> None:
        self.pool.terminate()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Borrow a connection; statements run each in its own transaction.

        Raises PoolTimeout when none becomes free within the URL's pool_timeout.
        """
        return self.pool.connection()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        async with self.connection() as connection:
            async with connection.transaction():
                yield Tx(connection)
            commit_tracking.record_commit()

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._ask("fetch", sql, args)

    async def one(self, sql: str, *args: object) -> Row | None:
        return await self._ask("fetchrow", sql, args)

    async def _ask(self, how: str, sql: str, args: Sequence[object]) -> Any:
        """Run one statement; one that only reads is asked again where its connection broke."""
        give_up = time.monotonic() + REPEAT_FOR_S
        while True:
            try:
                async with self.connection() as connection:
                    return await getattr(connection, how)(sql, *args)
            except BROKEN:
                if not is_read_only(sql) or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_S)

    def require_position(self, position: str) -> "Database":
        """The primary holds every position it gave."""
        del position
        return self

    async def position(self) -> str:
        """How far the primary's log is: `timeline.position`, hexadecimal, for Florin-Consistency.

        Asked after a commit it covers that commit (the insert position is behind its record).
        """
        async with self.connection() as connection:
            return await read_position(connection)


def is_read_only(sql: str) -> bool:
    """Whether it does not matter if this statement runs once or twice. In doubt it does."""
    text = _COMMENT.sub(" ", sql)
    return bool(_READS.match(text)) and not _ACTS.search(text)


async def read_position(connection: Connection) -> str:
    row = await connection.fetchrow(
        "select pg_current_wal_insert_lsn() - '0/0' as lsn,"
        " substring(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline"
    )
    return f"{int(row['timeline'], 16):x}.{int(row['lsn']):x}"


def latest_position(positions: Iterable[str]) -> str:
    """The position that covers all of these."""
    return max(positions, key=parse_position)


def parse_position(position: str) -> tuple[int, int]:
    """Timeline and place in the log of a position. Raises ValueError."""
    found = _POSITION.fullmatch(position)
    if found is None:
        msg = "this is no position"
        raise ValueError(msg)
    return int(found[1], 16), int(found[2], 16)


def position_lsn(position: str) -> int:
    """The place alone. After a failover the log goes on where it was, so places stay comparable."""
    return parse_position(position)[1]
