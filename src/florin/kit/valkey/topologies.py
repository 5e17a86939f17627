"""Topologies: redis-py's clients for one server, Sentinel and a cluster, with a time limit, a
circuit breaker, and a retry after the master changed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import exceptions as no
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from florin.kit.observability import metrics
from florin.kit.valkey.circuit_breaker import CircuitBreaker

BUDGET_S = 0.75  # of a whole call: finding the master, connecting, one retry
Answer = TypeVar("Answer")


class Unavailable(no.ConnectionError):
    """The circuit breaker is open after consecutive failures."""


class WritesUnavailable(no.ConnectionError):
    """The server refuses writes for lack of replicas, or no node of the cluster answers."""


# The server did not execute the command: another server is the master, or soon will be.
_ELSEWHERE = (
    no.ReadOnlyError,
    no.BusyLoadingError,
    no.MasterDownError,
    no.ClusterDownError,
    no.TryAgainError,
    no.SlotNotCoveredError,
)
# No usable answer: Valkey is unreachable, frozen, full (OOM, MISCONF), or another program answers
# at its address. No caller may fail because of it.
GONE = (
    no.RedisError,
    no.RedisClusterException,  # not a RedisError
    *_ELSEWHERE,
    OSError,  # asyncio's TimeoutError is one
)


class _Guard:
    """Applies the circuit breaker and the time limit; retries when the master may have changed."""

    def __init__(self, forget: Callable[[], Awaitable[None]]) -> None:
        self._forget = forget
        self._breaker = CircuitBreaker()

    async def run(self, call: Callable[[], Awaitable[Answer]], *, attempts: int = 2) -> Answer:
        if not self._breaker.allows():
            metrics.valkey_failures.labels("left alone").inc()
            raise Unavailable("the circuit breaker is open after several failures")
        try:
            async with asyncio.timeout(BUDGET_S):
                answer = await (self._twice(call) if attempts > 1 else _named(call))
        except GONE as error:
            self._breaker.record_failure()
            metrics.valkey_failures.labels(type(error).__name__).inc()
            metrics.valkey_open.set(self._breaker.open)
            raise
        if self._breaker.open:
            metrics.valkey_open.set(0)
        self._breaker.record_success()
        return answer

    async def _twice(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await _named(call)
        except no.MaxConnectionsError:
            raise
        except (no.ConnectionError, *_ELSEWHERE):
            await self._forget()
        return await _named(call)


async def _named(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Translate two errors for which redis-py has no exception of their own."""
    try:
        return await call()
    except no.ResponseError as error:
        if str(error).startswith("NOREPLICAS"):  # a former master, separated from its replicas
            raise WritesUnavailable(str(error)) from error
        raise
    except no.RedisClusterException as error:
        if "cannot be connected" in str(error):
            raise WritesUnavailable(str(error)) from error
        raise


class _ConnectionCounter:
    """Counts connections: each may be to a server with less data than the previous one."""

    def __init__(self) -> None:
        self.count = 0

    async def made(self, connection: Any) -> None:
        self.count += 1
        await connection.on_connect()


class _Pipeline(Pipeline):
    """Commands sent together."""

    guard: _Guard

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack = self.command_stack

        async def call() -> list[Any]:
            self.command_stack = list(stack)  # each attempt empties it
            return await super(_Pipeline, self).execute(raise_on_error)

        return await self.guard.run(call)


class _GuardedClient:
    """The part of a client that redis-py's two classes have no common base for."""

    _guard: _Guard
    _connects: _ConnectionCounter

    @property
    def connects(self) -> int:
        """How many connections it has opened."""
        return self._connects.count

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        made: Any = super()
        return await self._guard.run(lambda: made.execute_command(*args, **options))


class SingleClient(_GuardedClient, Redis):
    """A client of one server, or of the master that Sentinel names."""

    def __init__(self, pool: ConnectionPool, sentinel: Sentinel | None = None) -> None:
        made: Any = super()  # redis-py's types are incomplete
        made.__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._sentinel = sentinel
        self._guard = _Guard(self._forget)
        self._connects = _ConnectionCounter()
        pool.connection_kwargs["redis_connect_func"] = self._connects.made

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> _Pipeline:
        del shard_hint
        made = _Pipeline(self.connection_pool, self.response_callbacks, transaction, None)
        made.guard = self._guard
        return made

    async def _forget(self) -> None:
        """Reconnect; with Sentinel that looks up the master."""
        await self.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        if self._sentinel is not None:
            await self._sentinel.aclose()


class _ClusterPipeline(ClusterPipeline):
    """Commands sent together, grouped by master."""

    guard: _Guard

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> Any:
        if not len(self):
            return []

        async def call() -> list[Any]:
            return await super(_ClusterPipeline, self).execute(raise_on_error, allow_redirections)

        return await self.guard.run(call, attempts=1)  # redis-py retries by itself


class ClusterClient(_GuardedClient, RedisCluster):
    """A client of a cluster's masters."""

    def __init__(self, nodes: list[ClusterNode], **options: Any) -> None:
        made: Any = super()
        made.__init__(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **options)
        self._guard = _Guard(_nothing)
        self._connects = _ConnectionCounter()
        for each in (self.nodes_manager, *nodes):
            each.connection_kwargs["redis_connect_func"] = self._connects.made

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> _ClusterPipeline:
        del shard_hint
        make: Any = _ClusterPipeline  # it is typed as abstract
        made: _ClusterPipeline = make(self, transaction)
        made.guard = self._guard
        return made


async def _nothing() -> None:
    """Nothing to do: redis-py's cluster client finds the masters again by itself."""
