"""Connection budget: the connections that all parts may open, compared with the server's limit."""

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from florin.kit.postgres.pool_limits import PoolLimits, reading_connections
from florin.kit.settings.variable import urls_of
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.system.console import OperatorError

HEALTH = 1  # per instance: health checks of the database have their own connection
REPORTS = 2  # per instance: reports have their own connections
WATCHES = 2  # with replicas: one monitors the primary, one each server as a replica
# Per worker: one for each shared slot, four for the slots of single queues, three to claim jobs and
# for heartbeats.
WORKER = 12
OTHERS = 6  # migrate, doctor, the operator process, a dump, a user with psql


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """`instances` run at the same time, including the additional ones of a deployment."""

    instances: int
    workers: int = 0
    pool: int
    reads: int = 0  # per instance, to a server as a replica; see `replica_connections`
    most: int  # the server's max_connections
    reserved: int  # for superusers

    @property
    def each(self) -> int:
        """Connections of one instance to the primary, which may have been a replica before."""
        return self.pool + reading_connections(self.pool) + REPORTS + HEALTH + self.reads

    @property
    def needed(self) -> int:
        return self.instances * self.each + self.workers * WORKER + OTHERS

    @property
    def room(self) -> int:
        return self.most - self.reserved

    @property
    def fits(self) -> bool:
        return self.needed <= self.room

    @property
    def instances_max(self) -> int:
        left = self.room - OTHERS - self.workers * WORKER
        return max(0, left // self.each)

    @property
    def workers_max(self) -> int:
        return max(0, (self.room - OTHERS - self.instances * self.each) // WORKER)

    def describe(self) -> str:
        parts = [self.pool, reading_connections(self.pool), REPORTS + HEALTH, self.reads]
        each = " + ".join(str(part) for part in parts if part)
        working = f", {self.workers} workers with {WORKER}" if self.workers else ""
        return (
            f"{self.instances} instances with {each} connections{working} and {OTHERS} others need"
            f" {self.needed} of {self.room} connections"
        )

    def require(self) -> None:
        """Refuse a fleet that needs more connections than the server accepts."""
        if not self.fits:
            raise OperatorError(
                f"Too few database connections: {self.describe()}. The server has room for"
                f" {self.instances_max} instances, one of them for deployments. Run fewer"
                " instances, lower connection_limit in DATABASE_URL or raise max_connections."
            )


def replica_connections(urls: str) -> int:
    """Return the connections of an instance to one server as a replica, monitoring included.

    `urls` is DATABASE_URL_REPLICA; 0 if it is empty. A pool stays open when its server becomes the
    primary. Where the URLs have different limits the largest counts, since any server may become
    the primary.
    """
    found = [PoolLimits(url).connections for url in urls_of(SecretStr(urls))] if urls else []
    return max(found) + WATCHES if found else 0


async def read_budget(
    url: str, instances: int, workers: int = 0, *, replicas: str = ""
) -> ConnectionBudget:
    """Read the server's limits. Raises OperatorError when the server cannot be reached."""
    limits = PoolLimits(url)
    try:
        async with open_session(limits.dsn) as connection:
            return await query_budget(
                connection, limits.connections, instances, workers, replicas=replicas
            )
    except NotYet as error:
        raise OperatorError(
            f"The database cannot be reached: {error or 'no answer'}. Check florin status."
        ) from None


async def query_budget(
    connection: Any, pool: int, instances: int, workers: int, *, replicas: str = ""
) -> ConnectionBudget:
    row = await connection.fetchrow(
        "select current_setting('max_connections')::int as most,"
        " current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved"
    )
    return ConnectionBudget(
        instances=instances,
        workers=workers,
        pool=pool,
        reads=replica_connections(replicas),
        most=row["most"],
        reserved=row["reserved"],
    )
