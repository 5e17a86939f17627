"""Budget: the connections all parts may open together, against what the server has."""

from dataclasses import dataclass
from typing import Any

from florin.kit.db import PoolLimits
from florin.ops.engines.session import NotYet, session
from florin.ops.tell import Unable

HEALTH = 1  # each instance asks after the database on a connection of its own
WORKER = 8  # one a job, three to take and to beat with
OTHERS = 6  # migrate, doctor, a dump, somebody with psql


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`instances` are those that may run at once, the spare ones of a deployment included."""

    instances: int
    workers: int = 0
    pool: int
    most: int  # the server's max_connections
    reserved: int  # which it keeps for superusers

    @property
    def needed(self) -> int:
        return self.instances * (self.pool + HEALTH) + self.workers * WORKER + OTHERS

    @property
    def room(self) -> int:
        return self.most - self.reserved

    @property
    def fits(self) -> bool:
        return self.needed <= self.room

    @property
    def instances_max(self) -> int:
        left = self.room - OTHERS - self.workers * WORKER
        return max(0, left // (self.pool + HEALTH))

    @property
    def workers_max(self) -> int:
        return max(0, (self.room - OTHERS - self.instances * (self.pool + HEALTH)) // WORKER)

    def said(self) -> str:
        each = f"{self.pool} + {HEALTH}"
        working = f", {self.workers} workers with {WORKER}" if self.workers else ""
        return (
            f"{self.instances} instances with {each} connections{working} and {OTHERS} for others"
            f" make"
            f" {self.needed} of {self.room}"
        )

    def require(self) -> None:
        """Refuse what would let the server turn requests away."""
        if not self.fits:
            raise Unable(
                f"The connections do not suffice: {self.said()}. The server takes"
                f" {self.instances_max} instances, one of them spare for deployments; lower"
                " connection_limit in DATABASE_URL or raise max_connections."
            )


async def of(url: str, instances: int, workers: int = 0) -> Budget:
    """Ask the server for its limits; raises Unable when it cannot be asked."""
    limits = PoolLimits(url)
    try:
        async with session(limits.dsn) as connection:
            return await ask(connection, limits.connections, instances, workers)
    except NotYet as error:
        raise Unable(f"The database cannot be asked: {error or 'no answer'}.") from None


async def ask(connection: Any, pool: int, instances: int, workers: int) -> Budget:
    row = await connection.fetchrow(
        "select current_setting('max_connections')::int as most,"
        " current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved"
    )
    return Budget(
        instances=instances,
        workers=workers,
        pool=pool,
        most=row["most"],
        reserved=row["reserved"],
    )
