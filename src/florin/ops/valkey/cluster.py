"""Cluster: three Valkey masters that share the keys, each with a replica that can replace it.

The nodes elect masters, and each node stores the result in its own file. A master that restarts
first waits until its replica has taken over: it would come back empty, and the replica would copy
that.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace

from florin.ops.fleet.model import Role
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import account_files
from florin.ops.valkey import cluster_slots, users
from florin.ops.valkey import server as valkey
from florin.ops.valkey.client import GONE, send_command
from florin.ops.valkey.client import read_role as role_of
from florin.ops.valkey.cluster_slots import View
from florin.ops.valkey.sentinel import SUCCESSOR_WITHIN_S, replica_settings
from florin.ops.valkey.server import ValkeyServer

NODE_TIMEOUT_MS = 1500
KNOWS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDeployment:
    """The nodes by name, and their cluster bus ports by name."""

    servers: dict[str, ValkeyServer]
    buses: dict[str, int]
    ran: set[str] = field(default_factory=set[str])  # nodes that have run: not a first start
    idle: set[str] = field(default_factory=set[str])  # nodes that had no slots when they started

    @property
    def url(self) -> str:
        one = next(iter(self.servers.values()))
        addresses = [each.address for each in self.servers.values()]
        return cluster_url(addresses, one.secrets[users.APPLICATION_SECRET])

    @property
    def _password(self) -> str:
        return next(iter(self.servers.values())).secrets[users.OPERATOR_SECRET]

    def wanted(self) -> list[PartSpec]:
        return [self._node(name) for name in self.servers]

    async def repair(self) -> bool:
        """Send the commands that complete the cluster; does nothing while a node is away."""
        views = await self._views(list(self.servers))
        if len(views) < len(self.servers):
            return False
        places = {name: (each.port, self.buses[name]) for name, each in self.servers.items()}
        commands = cluster_slots.missing_commands(views, places)
        for command in commands:
            with contextlib.suppress(*GONE):  # the next call tries again
                await send_command(self.servers[command.to].address, self._password, *command.words)
        return not commands

    async def is_complete(self) -> bool:
        """Return whether every key has a master and every master a replica."""
        if not await self.repair():
            return False
        with contextlib.suppress(*GONE):
            for server in self.servers.values():
                said = await send_command(server.address, self._password, "CLUSTER", "INFO")
                role = await send_command(server.address, self._password, "ROLE")
                followed = role[2] if role[0] == "master" else role[3] == "connected"
                if "cluster_state:ok" not in said or not followed:
                    return False
            return True
        return False

    def _node(self, name: str) -> PartSpec:
        def role() -> Role:
            return "valkey-replica" if self._replicates(name) else "valkey-primary"

        return replace(
            self.servers[name].wanted(),
            role=role(),
            role_now=role,
            prepare=lambda: self._prepare(name),
            settle=lambda: self._settle(name),
        )

    def _replicates(self, name: str) -> bool:
        """Return whether a node should be a replica: by the others, its own file, or its number."""
        if name in self.idle:
            return True
        with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
            server = self.servers[name]
            text = account_files.read_account_file(server.folder / "nodes.conf", server.account)
            lines = [line for line in text.splitlines() if not line.startswith("vars ")]
            return (
                "slave" in cluster_slots.own_node(cluster_slots.parse_nodes("\n".join(lines))).flags
            )
        return list(self.servers).index(name) >= cluster_slots.MASTERS

    def _prepare(self, name: str) -> None:
        self.idle.discard(name)
        # This runs in a thread, so it needs its own event loop.
        if name in self.ran and asyncio.run(self._successor(name)):
            self.idle.add(name)
        self.ran.add(name)
        self.servers[name].prepare(
            replica_settings(self._password)
            | {
                "cluster-enabled": "yes",
                "cluster-port": self.buses[name],
                "cluster-config-file": "nodes.conf",
                "cluster-node-timeout": NODE_TIMEOUT_MS,
                "cluster-require-full-coverage": "no",
            }
        )

    async def _successor(self, name: str) -> bool:
        """Wait until another node has its slots, as long as the others can elect one.

        Returns True once it was replaced, False when it starts with its old role.
        """
        deadline = time.monotonic() + SUCCESSOR_WITHIN_S
        others = [each for each in self.servers if each != name]
        while time.monotonic() < deadline:
            views = await self._views(others)
            port = self.servers[name].port
            mine = [node for seen in views.values() for node in seen if node.port == port]
            ids = {node.id for node in mine if node.slots}
            if not ids or not _replaceable(ids, views):
                return bool(mine) and not ids
            await asyncio.sleep(0.1)
        return False

    async def _settle(self, name: str) -> None:
        """Wait until a replaced node reports that it is a replica: first it acts as a master."""
        deadline, server = time.monotonic() + KNOWS_WITHIN_S, self.servers[name]
        while name in self.idle and time.monotonic() < deadline:
            if await role_of(server.address, self._password) == "valkey-replica":
                return
            await asyncio.sleep(0.05)

    async def _views(self, names: list[str]) -> dict[str, View]:
        """Return each node's view of the cluster; nodes that do not answer are left out."""

        async def look(name: str) -> View | None:
            with contextlib.suppress(*GONE):
                address = self.servers[name].address
                return cluster_slots.parse_nodes(
                    await send_command(address, self._password, "CLUSTER", "NODES")
                )
            return None

        found = await asyncio.gather(*(look(name) for name in names))
        return {name: seen for name, seen in zip(names, found, strict=True) if seen}


def _replaceable(ids: set[str], views: dict[str, View]) -> bool:
    """Return whether the masters `ids` can be replaced: enough voters, and a replica of theirs."""
    own = [cluster_slots.own_node(seen) for seen in views.values()]
    voters = [node for node in own if node.slots]
    return len(voters) > 1 and any("slave" in node.flags and node.master in ids for node in own)


def cluster_url(addresses: list[str], password: str) -> str:
    return f"redis+cluster://{valkey.url_user(password)}@{','.join(addresses)}"
