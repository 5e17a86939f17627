"""Resource usage: memory of the parts, workers and database connections of a fleet right now."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import observe_fleet
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.system import processes
from florin.ops.topology import topology

_WITHIN_S = 5
_CONNECTIONS = "select count(*) from pg_stat_activity where backend_type = 'client backend'"


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Memory in MB by part; client connections of the database, None if it did not answer."""

    memory: Mapping[str, float]
    workers: int
    connections: int | None


async def read_resource_usage(home: Home) -> ResourceUsage:
    fleet = await asyncio.to_thread(observe_fleet, home)
    running = [(part, part.process) for part in fleet.parts if part.process is not None]
    return ResourceUsage(
        {part.name: processes.process_usage(process)[1] / 2**20 for part, process in running},
        sum(part.role == "worker" for part, _ in running),
        await _connections(home),
    )


async def _connections(home: Home) -> int | None:
    url = topology.running_urls(home).get("DATABASE_URL")
    if not url:
        return None
    try:
        async with asyncio.timeout(_WITHIN_S), open_session(url) as connection:
            return int(await connection.fetchval(_CONNECTIONS))
    except (ValueError, *NotYet):
        return None
