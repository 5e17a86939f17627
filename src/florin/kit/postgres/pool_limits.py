"""Pool limits: the most connections of a pool and the wait for one, from its URL."""

from copy import copy
from urllib.parse import parse_qsl, urlencode, urlunsplit

from florin.kit.urls import split_url


class PoolLimits:
    """The limits in a URL: `?connection_limit=20&pool_timeout=20` (seconds)."""

    def __init__(self, url: str, *, connections: int = 10, timeout_s: float = 10) -> None:
        parts = split_url(url)
        query = dict(parse_qsl(parts.query))
        self.connections = int(query.pop("connection_limit", connections))
        self.timeout_s = float(query.pop("pool_timeout", timeout_s))
        self.dsn = urlunsplit(parts._replace(query=urlencode(query)))
        if self.connections < 1 or self.timeout_s <= 0:
            msg = "connection_limit and pool_timeout must be positive"
            raise ValueError(msg)

    def for_reads(self) -> "PoolLimits":
        """The limits of a second pool to the same server, for reads only."""
        limits = copy(self)
        limits.connections = reading_connections(self.connections)
        # The pool's sessions are read-only, so "read-write" would match no server; "primary" does.
        limits.dsn = self.dsn.replace("session_attrs=read-write", "session_attrs=primary")
        return limits


def reading_connections(connections: int) -> int:
    """The number of connections in an instance's pool for reads, given that of its main pool."""
    return max(1, connections // 2)
