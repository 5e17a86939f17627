"""Replication lag: how far each replica of PostgreSQL is behind the primary."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.system.console import OperatorError

_WITHIN_S = 2
UrlOf = Callable[[str], str]
_WRITTEN = "select (pg_current_wal_insert_lsn() - '0/0')::bigint"
# `age` is the time since the primary committed the transaction that was replayed last.
_REPLAYED = """
select (pg_last_wal_replay_lsn() - '0/0')::bigint as lsn,
  extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 as age
"""


class ReplicationLag(msgspec.Struct, frozen=True):
    """The lag of a replica. None: the replica (for `bytes`, also the primary) did not answer."""

    bytes: int | None
    seconds: float | None


async def read_lag(home: Home, fleet: Fleet) -> dict[str, ReplicationLag]:
    """Return the lag of the replicas that run here, by name. Raises nothing."""

    def url_of(address: str) -> str:
        return postgres.postgres_url(address, postgres.SUPERUSER, secrets.read_secrets(home))

    return await read_lag_at(fleet, url_of)


async def read_lag_at(fleet: Fleet, url_of: UrlOf) -> dict[str, ReplicationLag]:
    """Read the lag as any user that may connect; `url_of` returns the URL of an address."""
    replicas = [part for part in fleet.of("postgres-replica") if part.process and part.address]
    if not replicas:
        return {}
    primary = next((part for part in fleet.of("postgres-primary") if part.process), None)
    # The primary is queried first, so that a replica which replays meanwhile is not counted behind.
    position = await _query(url_of, primary, _WRITTEN) if primary else None
    written: int | None = position[0] if position else None
    rows = await asyncio.gather(*(_query(url_of, part, _REPLAYED) for part in replicas))
    return {part.name: lag_of(written, row) for part, row in zip(replicas, rows, strict=True)}


def lag_of(written: int | None, row: Any) -> ReplicationLag:
    """Return the lag of a replica from the primary's position and the replica's row. Pure.

    A replica that has everything has no lag, however old the last write is.
    """
    if row is None or row["lsn"] is None:
        return ReplicationLag(None, None)
    behind = None if written is None else max(0, written - row["lsn"])
    if behind == 0:
        return ReplicationLag(0, 0.0)
    return ReplicationLag(behind, None if row["age"] is None else round(max(0.0, row["age"]), 3))


def format_lag(lag: ReplicationLag | None) -> str:
    """Return the lag for a table: `12 KB, 0.3 s`; empty for a part that is not a replica."""
    if lag is None:
        return ""
    size = "?" if lag.bytes is None else _size(lag.bytes)
    return f"{size}, {'?' if lag.seconds is None else f'{lag.seconds:.1f}'} s"


def _size(count: int) -> str:
    if count < 2**10:
        return f"{count} B"
    return f"{count / 2**10:.0f} KB" if count < 2**20 else f"{count / 2**20:.0f} MB"


async def _query(url_of: UrlOf, part: Part, sql: str) -> Any:
    try:
        url = url_of(part.address or "")
        async with asyncio.timeout(_WITHIN_S), open_session(url, within_s=_WITHIN_S) as connection:
            return await connection.fetchrow(sql)
    except (OperatorError, KeyError, ValueError, *NotYet):
        return None
