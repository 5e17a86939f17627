"""Database: the primary, transactions on it, and its log position for consistent reads."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
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
    terminate_after,
)
from florin.kit.postgres.pool_limits import PoolLimits
from florin.kit.postgres.sql_release import PACKAGED

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

REPEAT_FOR_S = 10.0  # a read is retried for so long after its connection broke
_PAUSE_S = 0.05
_POSITION = re.compile(r"([0-9a-f]{1,8})\.([0-9a-f]{1,16})")

# The functions that a statement may call and still be retried when its outcome is unknown. Other
# statements are repeated by their callers, with an idempotency key or after a check.
MAY_CALL = ("clock", "metadata_token", "oldest_money", "queue_begin", "queue_facts")
_COMMENT = re.compile(r"--[^\n]*")
_READS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_ACTS = re.compile(
    r"\b(insert|update|delete|merge|nextval|setval|set_config|pg_notify|pg_\w*advisory\w*)\b"
    rf"|\bflorin\w*\s*\.\s*(?!({'|'.join(MAY_CALL)})\b)\w+\s*\("
    rf"|\b({'|'.join(sorted(PACKAGED.function_names.difference(MAY_CALL)))})\s*\(",
    re.IGNORECASE,
)

Row = Mapping[str, Any]  # the part of asyncpg.Record that is used


class Reader(Protocol):
    """Runs statements that a replica may answer: a RoutedReader, or the Database.

    A function that takes the Database always reads from the primary, as all decisions about money
    must.
    """

    async def all(self, sql: str, *args: object) -> Sequence[Row]: ...

    async def one(self, sql: str, *args: object) -> Row | None: ...

    def require_position(self, position: str) -> Any:
        """Further reads must include everything up to that position."""
        ...


class Tx:
    """A connection inside a transaction.

    Only Database.transaction() makes one. A function with a Tx parameter therefore runs in a
    transaction, and code that waits for the network cannot call it without one.
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
    """The primary, with one pool of connections."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "florin",
        server: str = "primary",
        settings: Mapping[str, str] | None = None,
        reads: bool = False,
        on_connect: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """`server` names the pool in the metrics; `settings` are PostgreSQL settings of its
        sessions; `reads`: a pool for reads only, see Pool; `on_connect` prepares each connection.
        """
        self.limits = PoolLimits(url)
        self.name = name
        self.pool = Pool(
            self.limits,
            name=name,
            server=server,
            on_connect=on_connect,
            settings=settings or {},
            reads=reads,
        )

    def for_reads(self) -> "Database":
        """The same server with a separate pool for reads only: see Pool."""
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
        """Borrow a connection; each statement runs in its own transaction.

        Raises PoolTimeout if none becomes free within the URL's pool_timeout.
        """
        return self.pool.connection()

    @asynccontextmanager
    async def transaction(self, *, within_s: float | None = None) -> AsyncGenerator[Tx]:
        """`within_s`: then the connection is terminated; whether it committed is unknown."""
        async with self.connection() as connection:
            watch = nullcontext() if within_s is None else terminate_after(connection, within_s)
            with watch:
                async with connection.transaction():
                    yield Tx(connection)
            commit_tracking.record_commit()

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        return await self._query("fetch", sql, args)

    async def one(self, sql: str, *args: object) -> Row | None:
        return await self._query("fetchrow", sql, args)

    async def change(self, sql: str, *args: object) -> Row | None:
        """Run one statement that changes something, as a transaction of its own: the server commits
        it with its answer, which saves two round trips. Return its first row.
        """
        async with self.connection() as connection:
            row: Row | None = await connection.fetchrow(sql, *args)
        commit_tracking.record_commit()
        return row

    async def _query(self, method: str, sql: str, args: Sequence[object]) -> Any:
        """Run one statement; a read is retried when its connection broke."""
        give_up = time.monotonic() + REPEAT_FOR_S
        while True:
            try:
                async with self.connection() as connection:
                    return await getattr(connection, method)(sql, *args)
            except BROKEN:
                if not is_read_only(sql) or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_S)

    def require_position(self, position: str) -> "Database":
        """Nothing to do: the primary has every position it returned."""
        del position
        return self

    async def position(self) -> str:
        """The position of the primary's log, `timeline.position` in hexadecimal.

        Read after a commit it covers that commit: the insert position is after its record.
        """
        async with self.connection() as connection:
            return await read_position(connection)


def is_read_only(sql: str) -> bool:
    """Whether a statement may be run twice without effect; False in doubt."""
    text = _COMMENT.sub(" ", sql)
    return bool(_READS.match(text)) and not _ACTS.search(text)


async def read_position(connection: Connection) -> str:
    row = await connection.fetchrow(
        "select pg_current_wal_insert_lsn() - '0/0' as lsn,"
        " substring(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline"
    )
    return f"{int(row['timeline'], 16):x}.{int(row['lsn']):x}"


def latest_position(positions: Iterable[str]) -> str:
    """The latest of positions; it covers all others."""
    return max(positions, key=parse_position)


def parse_position(position: str) -> tuple[int, int]:
    """The timeline and the LSN of a position. Raises ValueError."""
    match = _POSITION.fullmatch(position)
    if match is None:
        msg = "invalid position"
        raise ValueError(msg)
    return int(match[1], 16), int(match[2], 16)


def position_lsn(position: str) -> int:
    """The LSN alone. The log continues after a failover, so LSNs stay comparable."""
    return parse_position(position)[1]
