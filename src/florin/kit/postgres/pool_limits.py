"""Pool limits: how many connections a URL allows, and how long one is waited for."""

from copy import copy
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


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

    def for_reads(self) -> "PoolLimits":
        """Those of a pool beside this one, to the same server, for what is only read."""
        limits = copy(self)
        limits.connections = reading_connections(self.connections)
        # A session that may only read is no "read-write" one; the primary is what is meant.
        limits.dsn = self.dsn.replace("session_attrs=read-write", "session_attrs=primary")
        return limits


def reading_connections(connections: int) -> int:
    """How many connections for reads an instance has beside its pool for everything else."""
    return max(1, connections // 2)
