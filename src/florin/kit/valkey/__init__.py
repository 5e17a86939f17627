"""Valkey: clients for its three topologies, notifications, and a circuit breaker."""

import sys

_OPENTELEMETRY = "opentelemetry"
_BLOCKED = _OPENTELEMETRY not in sys.modules

# redis-py imports OpenTelemetry's SDK where it is installed, for metrics that Florin does not use:
# 0.1 s and some megabytes of every process. It does without where the import fails.
if _BLOCKED:
    sys.modules[_OPENTELEMETRY] = None  # type: ignore[assignment] -- as Python documents it
try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
finally:
    if _BLOCKED:
        del sys.modules[_OPENTELEMETRY]

__all__ = ["Redis", "RedisError"]
