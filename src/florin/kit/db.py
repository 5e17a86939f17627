"""Database: pools to PostgreSQL, transactions, and the position that proves what was seen."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

Pool = Any  # asyncpg types neither its pools nor the proxies they lend
Connection = Any

Row = Mapping[str, Any]  # an asyncpg.Record, as far as anybody reads one


# asyncpg types its factories in part only.
_asyncpg: Any = asyncpg


# The server went away, is starting or stopping: the outcome of a statement in flight is unknown.
# (asyncpg says InternalClientError where it finds the ruins of a connection that was cut.)
BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    OSError,
)


async def connect(dsn: str, *, name: str) -> Connection:
    """Open one connection, outside of any pool."""
    return await _asyncpg.connect(dsn, server_settings={"application_name": name})


class PoolLimits:
    """The limits a URL states: `?connection_limit=20&pool_timeout=20` (seconds)."""

    def __init__(self, url: str, *, connections: int = 10, timeout_s: float = 10) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.connections = int(query.pop("connection_limit", connections))
        self.timeout_s = float(query.pop("pool_timeout", timeout_s))
        self.dsn = urlunsplit(parts._replace(query=urlencode(query)))
        if self.connections < 1 or self.timeout_s <= 0:
            msg = "connection_limit and pool_timeout must be positive"
            raise ValueError(msg)


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


class PoolTimeout(Exception):
    """No connection became free in time; nothing was sent."""


class Database:
    """The primary, through one pool.

    `reset` is left out on purpose: no statement here changes a session, and the reset would cost a
    round trip. A time-out is never given to asyncpg: it would send a cancel, which during a commit
    can leave the outcome unknown.
    """

    def __init__(self, url: str, *, name: str = "florin") -> None:
        self.limits = PoolLimits(url)
        self._name = name
        self._pool: Pool | None = None
        self._timeline: str | None = None

    async def open(self) -> None:
        self._pool = await _asyncpg.create_pool(
            self.limits.dsn,
            min_size=0,  # opens without a server: requests wait and say so, the process lives
            max_size=self.limits.connections,
            max_inactive_connection_lifetime=0,
            statement_cache_size=256,
            reset=_leave_as_it_is,
            server_settings={
                "application_name": self._name,
                "search_path": "florin",
                "timezone": "UTC",
                "jit": "off",
            },
        )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def abandon(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @property
    def pool(self) -> Pool:
        assert self._pool is not None, "the database is not open"
        return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Borrow a connection; statements run each in its own transaction.

        Raises PoolTimeout when none becomes free within the URL's pool_timeout.
        """
        try:
            connection = await self.pool.acquire(timeout=self.limits.timeout_s)
        except TimeoutError as error:
            raise PoolTimeout from error
        try:
            yield connection
        except BROKEN:
            connection.terminate()  # the pool must not lend it again
            raise
        finally:
            await self.pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        async with self.connection() as connection, connection.transaction():
            yield Tx(connection)

    async def all(self, sql: str, *args: object) -> Sequence[Row]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def one(self, sql: str, *args: object) -> Row | None:
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def position(self) -> str:
        """How far the primary's log is: `timeline.position`, hexadecimal, for Florin-Consistency.

        Asked after a commit it covers that commit (the insert position is behind its record).
        """
        async with self.connection() as connection:
            return await position(connection)


async def position(connection: Connection) -> str:
    row = await connection.fetchrow(
        "select pg_current_wal_insert_lsn() - '0/0' as lsn,"
        " substring(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline"
    )
    return f"{int(row['timeline'], 16):x}.{int(row['lsn']):x}"


def latest(positions: Iterable[str]) -> str:
    """The position that covers all of these."""
    return max(positions, key=lambda each: [int(part, 16) for part in each.split(".")])


async def _leave_as_it_is(_connection: object) -> None:
    """Run at a connection's return to the pool."""
