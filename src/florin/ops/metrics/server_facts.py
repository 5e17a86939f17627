"""Server facts: what PostgreSQL and Valkey report to the supervisor, each within a time limit."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from florin.ops.fleet.model import Fleet
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.server import Postgres
from florin.ops.valkey import client as valkey

_WITHIN_S = 1.0
_POSTGRES = """
select not pg_is_in_recovery() as primary,
  (select timeline_id from pg_control_checkpoint()) as timeline,
  (select count(*) from pg_stat_replication where state = 'streaming') as standbys,
  (select count(*) from pg_stat_replication
    where state = 'streaming' and sync_state in ('sync', 'quorum')) as sync_standbys,
  current_setting('synchronous_standby_names') <> '' as waits,
  archived_count, failed_count
from pg_stat_archiver
"""
_VALKEY_ROLES = ("valkey-primary", "valkey-replica")


@dataclass(frozen=True, slots=True)
class ValkeyFacts:
    """What INFO says; memory in bytes."""

    primary: bool
    memory: int
    memory_limit: int
    clients: int
    commands: int
    evicted: int


async def read_postgres(servers: Mapping[str, Postgres]) -> dict[str, Mapping[str, Any] | None]:
    """Return the facts of each server; None for one that does not answer."""
    found = await asyncio.gather(*(_postgres(server) for server in servers.values()))
    return dict(zip(servers, found, strict=True))


async def read_valkey(fleet: Fleet, password: str) -> dict[str, ValkeyFacts | None]:
    """Return the facts of each Valkey of the fleet; None for one that does not answer."""
    parts = [part for part in fleet.parts if part.role in _VALKEY_ROLES and not part.given]
    found = await asyncio.gather(*(_valkey(part.address or "", password) for part in parts))
    return {part.name: facts for part, facts in zip(parts, found, strict=True)}


async def _postgres(server: Postgres) -> Mapping[str, Any] | None:
    try:
        async with asyncio.timeout(_WITHIN_S):
            async with open_session(server.url(postgres.SUPERUSER), within_s=1) as connection:
                return await connection.fetchrow(_POSTGRES)
    except NotYet:
        return None


async def _valkey(address: str, password: str) -> ValkeyFacts | None:
    try:
        text = await valkey.send_command(address, password, "INFO", within_s=_WITHIN_S)
    except valkey.GONE:
        return None
    pairs = (line.partition(":") for line in str(text).splitlines())
    facts = {name: value for name, _, value in pairs}
    return ValkeyFacts(
        primary=facts["role"] == "master",
        memory=int(facts["used_memory"]),
        memory_limit=int(facts["maxmemory"]),
        clients=int(facts["connected_clients"]),
        commands=int(facts["total_commands_processed"]),
        evicted=int(facts["evicted_keys"]),
    )
