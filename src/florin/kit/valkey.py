"""Valkey: what may vanish at any moment. Losing it costs speed, never money, jobs or logins."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.25


def connect(url: str) -> Any:
    """A client that gives up quickly: nobody waits long for what is not the truth."""
    client: Any = Redis
    return client.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
