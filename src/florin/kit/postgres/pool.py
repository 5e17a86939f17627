"""Pool: connections to one PostgreSQL server, or to the suitable one of several hosts.

A URL may name several hosts: `postgresql://app@a,b,c/florin?target_session_attrs=read-write`. Each
new connection is made to the first host that answers and has the requested session attributes. So
a pool follows a failover: its connections, broken or read-only by then, are closed and opened again
to the new primary.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from types import MappingProxyType
from typing import Any
from urllib.parse import urlunsplit

import asyncpg

from florin.kit.client_departure import ends_with_client
from florin.kit.observability import metrics
from florin.kit.postgres.host_names import look_up
from florin.kit.postgres.lost_peers import SERVER_SETTINGS, probe_server
from florin.kit.postgres.pool_limits import PoolLimits
from florin.kit.postgres.sql_release import PACKAGED
from florin.kit.urls import split_url

Connection = Any  # asyncpg has no types for its pools and the proxies of their connections

_asyncpg: Any = asyncpg  # the types of its factories are incomplete

# The server is unreachable, starting or stopping: the outcome of a statement in flight is unknown.
# (asyncpg raises InternalClientError on the remains of an aborted connection, and
# TargetServerAttributeNotMatched, an InterfaceError, while no host of a URL is suitable.)
BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,  # the server was the primary when the connection was made
    ConnectionError,
    OSError,
)

# To one host: a frozen or unplugged host must not delay the attempt at the next one. It bounds
# connecting only and never cancels a statement.
CONNECT_WITHIN_S = 3.0
_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.25

# The statement timeout of a pool for reads. The server enforces it, so that the statements of a
# killed instance end, too.
READ_STATEMENT_S = 4.0


class PoolTimeout(Exception):
    """No connection became free in time; no statement was sent."""


class StatementTimeout(Exception):
    """A read took longer than READ_STATEMENT_S. It is not retried: it would time out again."""


class Pool:
    """A pool of connections; `server` names it in the metrics. `reads`: for statements that only
    read: the server's statement timeout ends them, and so does the disconnect of their client.

    Connections are not reset when they return: no statement changes a session, and a reset costs a
    round trip. asyncpg never gets a statement timeout: it would send a cancel request, which during
    a commit can leave the outcome unknown.
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
            "search_path": PACKAGED.search_path,
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
            min_size=0,  # starts without a server: requests wait or are refused, the process runs
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
        """Borrow a connection; each statement runs in its own transaction.

        Raises PoolTimeout if none becomes free within the URL's pool_timeout; in a pool for reads
        also StatementTimeout and ClientGone.
        """
        if not self._reads:
            async with self._borrowed() as connection:
                yield connection
            return
        with ends_with_client():
            async with self._borrowed() as connection:
                yield connection

    @asynccontextmanager
    async def _borrowed(self) -> AsyncGenerator[Connection]:
        assert self._pool is not None, "the pool is not open"
        connection = await self._borrow()
        try:
            yield connection
        except asyncpg.QueryCanceledError as error:
            if self._reads:  # the connection stays usable
                raise StatementTimeout from error
            connection.terminate()
            raise
        except BROKEN as error:
            connection.terminate()  # the pool must not reuse it
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await self._pool.expire_connections()  # all are to the former primary
            raise
        finally:
            await self._pool.release(connection)

    async def _borrow(self) -> Connection:
        """Acquire a connection within the URL's pool_timeout, also while no server accepts one."""
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
                    # No statement was sent. During a failover all requests wait here.
                    if left_s <= pause_s:
                        raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        finally:
            self.waiting -= waits
            if waits:
                self._waits.observe(perf_counter() - began)

    def measure(self) -> None:
        """Update the gauges."""
        if self._pool is None:
            return
        metrics.pool_limit.labels(self.server).set(self._pool.get_max_size())
        metrics.pool_open.labels(self.server).set(self._pool.get_size())
        metrics.pool_idle.labels(self.server).set(self._pool.get_idle_size())
        metrics.pool_waiting.labels(self.server).set(self.waiting)


@contextmanager
def terminate_after(connection: Connection, seconds: float) -> Generator[None]:
    """Terminate the connection after `seconds`, without a cancel request: the outcome is unknown.

    A commit may wait for a synchronous replica without limit. Cancelling that wait would leave it
    committed on one server only.
    """
    timer = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        timer.cancel()


async def open_connection(dsn: str, *, name: str) -> Connection:
    """Open one connection without a pool."""
    session = {"application_name": name, "search_path": PACKAGED.search_path}
    return await Hosts(dsn).connect(server_settings=session)


class Hosts:
    """The hosts of a URL, the one that was suitable last first.

    asyncpg supports such URLs, but with one timeout for all hosts: a frozen host would use it up.
    """

    def __init__(self, dsn: str) -> None:
        parts = split_url(dsn)
        user, at, hosts = parts.netloc.rpartition("@")
        self._dsns = [
            urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")
        ]
        self._names = {dsn: split_url(dsn).hostname for dsn in self._dsns}

    async def connect(self, _dsn: str | None = None, **options: Any) -> Connection:
        """Connect to the first suitable host. Raises OSError, or another of BROKEN, if none is."""
        options["server_settings"] = SERVER_SETTINGS | options.get("server_settings", {})
        last: Exception | None = None
        for dsn in list(self._dsns):
            try:
                if name := self._names[dsn]:
                    await look_up(name, CONNECT_WITHIN_S)
                connection = await _asyncpg.connect(dsn, timeout=CONNECT_WITHIN_S, **options)
                probe_server(connection)
            except TimeoutError:  # translated: `_borrow` reads TimeoutError as an exhausted pool
                last = ConnectionError("the server did not accept the connection in time")
            except BROKEN as error:
                last = error
            else:
                if dsn != self._dsns[0]:
                    self._dsns.sort(key=lambda each: each != dsn)
                return connection
        assert last is not None
        raise last


async def _leave_as_it_is(_connection: object) -> None:
    """The pool's reset: does nothing."""
