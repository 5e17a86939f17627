"""Budget: the connections all parts may open together, against what the server has."""

from dataclasses import dataclass

from florin.kit.db import PoolLimits
from florin.ops.engines.session import NotYet, session
from florin.ops.tell import Unable

HEALTH = 1  # each instance asks after the database on a connection of its own
OTHERS = 6  # migrate, doctor, a dump, somebody with psql


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`instances` are those that may run at once, the spare ones of a deployment included."""

    instances: int
    pool: int
    most: int  # the server's max_connections
    reserved: int  # which it keeps for superusers

    @property
    def needed(self) -> int:
        return self.instances * (self.pool + HEALTH) + OTHERS

    @property
    def room(self) -> int:
        return self.most - self.reserved

    @property
    def fits(self) -> bool:
        return self.needed <= self.room

    @property
    def instances_max(self) -> int:
        return max(0, (self.room - OTHERS) // (self.pool + HEALTH))

    def said(self) -> str:
        each = f"{self.pool} + {HEALTH}"
        return (
            f"{self.instances} instances with {each} connections and {OTHERS} for others make"
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


async def of(url: str, instances: int) -> Budget:
    """Ask the server for its limits; raises Unable when it cannot be asked."""
    limits = PoolLimits(url)
    try:
        async with session(limits.dsn) as connection:
            row = await connection.fetchrow(
                "select current_setting('max_connections')::int as most,"
                " current_setting('superuser_reserved_connections')::int"
                " + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved"
            )
    except NotYet as error:
        raise Unable(f"The database cannot be asked: {error or 'no answer'}.") from None
    return Budget(
        instances=instances, pool=limits.connections, most=row["most"], reserved=row["reserved"]
    )
