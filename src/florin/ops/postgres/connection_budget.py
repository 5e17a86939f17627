"""Connection budget: the connections all parts may open together, against what the server has."""

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from florin.kit.postgres.pool_limits import PoolLimits, reading_connections
from florin.kit.settings.variable import urls_of
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.system.console import OperatorError

HEALTH = 1  # each instance asks after the database on a connection of its own
REPORTS = 2  # each instance makes reports on connections of their own: florin.reports.service
WATCHES = 2  # with replicas: one looks at the primary, one at each server as a replica
WORKER = 8  # one a job, three to take and to beat with
OTHERS = 6  # migrate, doctor, a dump, somebody with psql


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """`instances` are those that may run at once, the spare ones of a deployment included."""

    instances: int
    workers: int = 0
    pool: int
    reads: int = 0  # what each instance opens to a server as to a replica; see `as_replica`
    most: int  # the server's max_connections
    reserved: int  # which it keeps for superusers

    @property
    def each(self) -> int:
        """What one instance may open to the primary, which may have been a replica before."""
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
            f"{self.instances} instances with {each} connections{working} and {OTHERS} for others"
            f" make"
            f" {self.needed} of {self.room}"
        )

    def require(self) -> None:
        """Refuse what would let the server turn requests away."""
        if not self.fits:
            raise OperatorError(
                f"The connections do not suffice: {self.describe()}. The server takes"
                f" {self.instances_max} instances, one of them spare for deployments; lower"
                " connection_limit in DATABASE_URL or raise max_connections."
            )


def replica_connections(urls: str) -> int:
    """Return what an instance opens to one server as to a replica, its watches included.

    `urls` is DATABASE_URL_REPLICA; 0 where it names none. A pool stays when its server becomes the
    primary; where the URLs differ, the largest counts, since any of them may.
    """
    found = [PoolLimits(url).connections for url in urls_of(SecretStr(urls))] if urls else []
    return max(found) + WATCHES if found else 0


async def read_budget(
    url: str, instances: int, workers: int = 0, *, replicas: str = ""
) -> ConnectionBudget:
    """Ask the server for its limits; raises Unable when it cannot be asked."""
    limits = PoolLimits(url)
    try:
        async with open_session(limits.dsn) as connection:
            return await query_budget(
                connection, limits.connections, instances, workers, replicas=replicas
            )
    except NotYet as error:
        raise OperatorError(f"The database cannot be asked: {error or 'no answer'}.") from None


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
