"""Client: connects to Valkey, which may fail at any moment at the cost of speed only, never of
money, jobs or logins.

The client is redis-py's, for one server, a master chosen by Sentinel, or a cluster, by the URL's
scheme. Added to it: every call ends within BUDGET_S; after consecutive failures a circuit breaker
fails calls at once for a while; after an error that names another or no master (READONLY, LOADING,
MASTERDOWN, CLUSTERDOWN; redis-py handles MOVED) the master is looked up and the call retried once.

Every caller catches GONE and has a fallback.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from florin.kit.urls import split_url
from florin.kit.valkey.topologies import GONE, ClusterClient, SingleClient, Unavailable

__all__ = ["GONE", "Unavailable", "connect_valkey", "valkey_key"]

TIMEOUT_S = 0.25  # of one request, and of one attempt to connect


def valkey_key(use: str, tag: str, *rest: str) -> str:
    """Make a key. Keys with the same tag are on the same master of a cluster."""
    return ":".join(("florin", use, f"{{{tag}}}", *rest))


def connect_valkey(url: str) -> Any:
    """A client for the topology in the URL; see docs/operations/redis.md."""
    parts = split_url(url)
    tls = parts.scheme.partition("+")[0] in {"rediss", "valkeys"}
    query = dict(parse_qsl(parts.query))
    sentinel_password = query.pop("sentinel_password", None)
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "protocol": 2,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        **(_tls(query) if tls else {}),
    }
    hosts = _hosts(parts.netloc.rpartition("@")[2])
    if parts.scheme.endswith("+cluster"):
        options |= {"ssl": True} if tls else {}
        return ClusterClient([ClusterNode(host, port) for host, port in hosts], **options)
    options["retry"] = Retry(NoBackoff(), 0)
    if parts.scheme == "unix":
        options |= {"connection_class": UnixDomainSocketConnection, "path": parts.path}
        return SingleClient(ConnectionPool(**options, db=int(query.get("db", 0))))
    path = [part for part in parts.path.split("/") if part]
    if parts.scheme.endswith("+sentinel"):
        name = path[0] if path else "florin"
        options["db"] = int(path[1]) if len(path) > 1 else 0
        options["connection_class"] = (
            SentinelManagedSSLConnection if tls else SentinelManagedConnection
        )
        kwargs = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        kwargs |= {"protocol": 2, "retry": options["retry"], **(_tls(query) if tls else {})}
        kwargs |= {"password": sentinel_password, "ssl": tls}
        sentinel = Sentinel(hosts, sentinel_kwargs=kwargs)
        return SingleClient(SentinelConnectionPool(name, sentinel, **options), sentinel)
    options |= {"host": hosts[0][0], "port": hosts[0][1], "db": int(path[0]) if path else 0}
    options |= {"connection_class": SSLConnection} if tls else {}
    return SingleClient(ConnectionPool(**options))


def _hosts(text: str) -> list[tuple[str, int]]:
    hosts: list[tuple[str, int]] = []
    for each in text.split(","):
        host, _, port = each.rpartition(":")
        hosts.append((host.strip("[]"), int(port)) if host else (each, 6379))
    return hosts


def _tls(query: dict[str, str]) -> dict[str, Any]:
    """`?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE`"""
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
    return {name: query[name] for name in names if name in query}
