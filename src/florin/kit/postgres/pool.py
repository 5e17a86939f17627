"""Pool: connections to one PostgreSQL, or to the one of several that fits, and how they are used.

A URL may name several hosts: `postgresql://app@a,b,c/florin?target_session_attrs=read-write`. Each
new connection is made to the first that answers and fits, so that a pool follows a failover: what
it had is broken or read-only, is thrown away, and is opened again where the primary is now.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from florin.kit.client_departure import ends_with_client
from florin.kit.observability import metrics
from florin.kit.postgres.pool_limits import PoolLimits

Connection = Any  # asyncpg types neither its pools nor the proxies they lend

_asyncpg: Any = asyncpg  # it types its factories in part only

# The server went away, is starting or stopping: the outcome of a statement in flight is unknown.
# (asyncpg says InternalClientError where it finds the ruins of a connection that was cut, and
# TargetServerAttributeNotMatched, an InterfaceError, where no host of a URL fits just now.)
BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,  # it was the primary when we connected
    ConnectionError,
    OSError,
)

# To one host; a host that is frozen or unplugged must not keep us from the next one for long. It
# bounds the making of a connection only: no statement is ever cancelled by it.
CONNECT_WITHIN_S = 3.0
_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.25

# A statement of a pool for reads. The server ends it, so that one whose instance is gone ends, too.
READ_STATEMENT_S = 4.0


class PoolTimeout(Exception):
    """No connection became free in time; nothing was sent."""


class StatementTimeout(Exception):
    """A read took longer than READ_STATEMENT_S. It is not repeated: it would take as long again."""


class Pool:
    """Connections that are lent; `server` names them in the metrics. `reads`: one for statements
    that only read: the server ends a long one, and the end of its client ends any.

    `reset` is left out on purpose: no statement here changes a session, and the reset would cost a
    round trip. A time-out is never given to asyncpg: it would send a cancel, which during a commit
    can leave the outcome unknown.
    """

    def __init__(
        self,
        limits: PoolLimits,
        *,
        name: str,
        server: str,
        on_connect: Callable[[Connection], Awaitable[None]] | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
        reads: bool = False,
    ) -> None:
        self.limits = limits
        self._reads = reads
        self._session = {
            "application_name": name,
            "search_path": "florin",
            "timezone": "UTC",
            "jit": "off",
            **({"statement_timeout": f"{round(READ_STATEMENT_S * 1000)}"} if reads else {}),
            **settings,
        }
        self.server = server
        self.waiting = 0
        self._on_connect = on_connect
        self._hosts = Hosts(limits.dsn)
        self._pool: Any = None
        self._waits = metrics.pool_wait_seconds.labels(server)
        self._timeouts = metrics.pool_timeouts.labels(server)

    async def open(self) -> None:
        self._pool = await _asyncpg.create_pool(
            self.limits.dsn,
            min_size=0,  # opens without a server: requests wait and say so, the process lives
            max_size=self.limits.connections,
            max_inactive_connection_lifetime=0,
            statement_cache_size=256,
            reset=_leave_as_it_is,
            init=self._on_connect,
            connect=self._hosts.connect,
            server_settings=self._session,
        )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def terminate(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Borrow a connection; statements run each in its own transaction.

        Raises PoolTimeout when none becomes free within the URL's pool_timeout; where it is only
        read, StatementTimeout and ClientGone as well.
        """
        if not self._reads:
            async with self._lent() as connection:
                yield connection
            return
        with ends_with_client():
            async with self._lent() as connection:
                yield connection

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[Connection]:
        assert self._pool is not None, "the pool is not open"
        connection = await self._borrow()
        try:
            yield connection
        except asyncpg.QueryCanceledError as error:
            if self._reads:  # the connection is as good as before
                raise StatementTimeout from error
            connection.terminate()
            raise
        except BROKEN as error:
            connection.terminate()  # the pool must not lend it again
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await self._pool.expire_connections()  # all lead to where the primary was
            raise
        finally:
            await self._pool.release(connection)

    async def _borrow(self) -> Connection:
        """A connection, waited for as long as the URL says, also where no server takes one."""
        began = perf_counter()
        pause_s = _PAUSE_S
        waits = self._pool.get_idle_size() == 0
        self.waiting += waits
        try:
            while True:
                left_s = self.limits.timeout_s - (perf_counter() - began)
                try:
                    return await self._pool.acquire(timeout=max(left_s, 0.001))
                except TimeoutError as error:
                    self._timeouts.inc()
                    raise PoolTimeout from error
                except BROKEN:
                    # Nothing was sent. While another server becomes the primary, all wait here.
                    if left_s <= pause_s:
                        raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        finally:
            self.waiting -= waits
            if waits:
                self._waits.observe(perf_counter() - began)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        if self._pool is None:
            return
        metrics.pool_limit.labels(self.server).set(self._pool.get_max_size())
        metrics.pool_open.labels(self.server).set(self._pool.get_size())
        metrics.pool_idle.labels(self.server).set(self._pool.get_idle_size())
        metrics.pool_waiting.labels(self.server).set(self.waiting)


@contextmanager
def terminate_after(connection: Connection, seconds: float) -> Generator[None]:
    """End the connection when the time is up: what was sent is not cancelled, its outcome is open.

    A commit may wait for a replica for ever, and to cancel that would let it stand on one server.
    """
    timer = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        timer.cancel()


async def open_connection(dsn: str, *, name: str) -> Connection:
    """Open one connection, outside of any pool."""
    return await Hosts(dsn).connect(server_settings={"application_name": name})


class Hosts:
    """The hosts of a URL, the one that fitted last first.

    asyncpg knows such URLs, but gives all hosts one budget of time: a frozen host would use it up.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        user, at, hosts = parts.netloc.rpartition("@")
        self._dsns = [
            urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")
        ]

    async def connect(self, _dsn: str | None = None, **options: Any) -> Connection:
        """Connect to the first host that answers and fits. Raises OSError when none does."""
        last: Exception | None = None
        for dsn in list(self._dsns):
            try:
                connection = await _asyncpg.connect(dsn, timeout=CONNECT_WITHIN_S, **options)
            except TimeoutError:  # not as such: to those who borrow it says that the pool is empty
                last = ConnectionError("a server took too long to let us in")
            except BROKEN as error:
                last = error
            else:
                if dsn != self._dsns[0]:
                    self._dsns.sort(key=lambda each: each != dsn)
                return connection
        assert last is not None
        raise last


async def _leave_as_it_is(_connection: object) -> None:
    """Run at a connection's return to the pool."""
