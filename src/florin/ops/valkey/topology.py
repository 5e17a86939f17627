"""Topology: the Valkey servers of one machine: a single server, Sentinel, or a cluster.

Only roles are stored on disk, no data, so a stopped fleet may change its topology.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from florin.ops.fleet.model import Fleet, Kind, Role
from florin.ops.fleet.secrets import Secrets
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import os_user
from florin.ops.system.os_user import OsAccount
from florin.ops.valkey import cluster, sentinel, users
from florin.ops.valkey import server as valkey
from florin.ops.valkey.cluster import ClusterDeployment
from florin.ops.valkey.sentinel import SentinelDeployment
from florin.ops.valkey.server import ValkeyServer

ROLES: tuple[Role, ...] = ("valkey-primary", "valkey-replica", "sentinel")
_SERVERS: dict[Kind, int] = {"single": 1, "sentinel": 3, "cluster": 6}
_SENTINELS = tuple(f"sentinel-{n}" for n in (1, 2, 3))


class ValkeyDeployment(Protocol):
    """The Valkey servers of a fleet in one topology."""

    @property
    def url(self) -> str:
        """The REDIS_URL of instances and workers."""
        ...

    def wanted(self) -> list[PartSpec]: ...

    async def repair(self) -> bool:
        """Repair what the servers cannot repair themselves; return whether nothing was missing."""
        ...

    async def is_complete(self) -> bool:
        """Return whether the topology is complete, after a repair."""
        ...


@dataclass(frozen=True, slots=True)
class SingleDeployment:
    """One server."""

    server: ValkeyServer

    @property
    def url(self) -> str:
        return url_of(self.server.address, self.server.secrets)

    def wanted(self) -> list[PartSpec]:
        return [self.server.wanted()]

    async def repair(self) -> bool:
        return True

    async def is_complete(self) -> bool:
        return await self.server.ready()


def valkey_ports(kind: Kind) -> dict[str, str]:
    """Return the needed ports: the key in the layout and the part that listens on each."""
    names = [f"valkey-{n + 1}" for n in range(_SERVERS[kind])]
    if kind == "single":
        return {"valkey": names[0]}
    needed = {name: name for name in names}
    if kind == "sentinel":
        return needed | {name: name for name in _SENTINELS}
    return needed | {_bus(name): name for name in names}


def embedded_deployment(
    kind: Kind,
    place: Path,
    listening: Mapping[str, int],
    secrets: Secrets,
    user: OsAccount | None,
    *,
    running: Collection[str],
) -> ValkeyDeployment:
    """Return the topology on the ports of the layout. `running`: the parts that run already."""
    root = place / "valkey"
    if kind == "single":
        return SingleDeployment(valkey.embedded_valkey(root, listening["valkey"], secrets, user))
    os_user.make_private_dir(root, user)
    folder = os_user.make_private_dir(root / kind, user)
    first = valkey.embedded_valkey(folder, 0, secrets, user)
    names = [f"valkey-{n + 1}" for n in range(_SERVERS[kind])]
    servers = {
        name: replace(first, name=name, folder=folder / name, port=listening[name], shares=3)
        for name in names
    }
    ran = {name for name in names if name in running}
    if kind == "sentinel":
        judges = {name: listening[name] for name in _SENTINELS}
        return SentinelDeployment(servers=servers, ports=judges, folder=folder, ran=ran)
    return ClusterDeployment(servers=servers, buses={n: listening[_bus(n)] for n in names}, ran=ran)


def url_of(address: str, secrets: Secrets) -> str:
    return f"redis://{valkey.url_user(secrets[users.APPLICATION_SECRET])}@{address}/0"


def running_url(kind: Kind, fleet: Fleet, secrets: Secrets) -> str | None:
    """Return the URL of the running servers of a topology; None if none runs."""
    runs = [part for part in fleet.parts if part.process and part.address and not part.given]
    servers = [part.address or "" for part in runs if part.role in ROLES[:2]]
    judges = [part.address or "" for part in runs if part.role == "sentinel"]
    if kind == "sentinel":
        return sentinel.sentinel_url(judges, secrets[users.APPLICATION_SECRET]) if judges else None
    if not servers:
        return None
    if kind == "cluster":
        return cluster.cluster_url(servers, secrets[users.APPLICATION_SECRET])
    return url_of(servers[0], secrets)


async def wait_until_healthy(memory: ValkeyDeployment | None) -> None:
    """Wait, without a limit, until the topology is complete."""
    while memory is not None and not await memory.is_complete():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.2)


def _bus(name: str) -> str:
    return f"{name}-bus"
