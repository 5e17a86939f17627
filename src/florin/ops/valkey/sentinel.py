"""Sentinel: a Valkey primary, two replicas, and three Sentinels that fail over between them.

The Sentinels elect the primary, and each stores the result in its own file. A server that restarts
takes its role from these files. A former primary first waits for its successor: it would come back
empty, and the replicas would copy that.
"""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from florin.ops.fleet.model import Role
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import account_files, os_user
from florin.ops.valkey import server as valkey
from florin.ops.valkey import users
from florin.ops.valkey.client import GONE, is_answering, send_command
from florin.ops.valkey.server import ValkeyServer

GROUP = "florin"  # the name of the servers in the Sentinels' configuration
QUORUM = 2
DOWN_AFTER_MS = 1500
FAILOVER_MS = 10_000
SUCCESSOR_WITHIN_S = 8.0  # then the server starts with its old role
_MONITOR = re.compile(rf"^sentinel monitor {GROUP} 127\.0\.0\.1 (\d+) ", re.MULTILINE)
_EPOCH = re.compile(rf"^sentinel config-epoch {GROUP} (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelDeployment:
    """The servers by name, and the Sentinels' ports by name."""

    servers: dict[str, ValkeyServer]
    ports: dict[str, int]
    folder: Path
    ran: set[str] = field(default_factory=set[str])  # servers that have run: not a first start

    @property
    def url(self) -> str:
        addresses = [f"127.0.0.1:{port}" for port in self.ports.values()]
        return sentinel_url(addresses, self._one.secrets[users.APPLICATION_SECRET])

    @property
    def _one(self) -> ValkeyServer:
        return next(iter(self.servers.values()))

    @property
    def _password(self) -> str:
        return self._one.secrets[users.OPERATOR_SECRET]

    def wanted(self) -> list[PartSpec]:
        """Return the servers, then the Sentinels, which need running servers."""
        return [*map(self._server, self.servers), *map(self._sentinel, self.ports)]

    async def repair(self) -> bool:
        return True  # the Sentinels repair the topology

    async def is_complete(self) -> bool:
        """Return whether every replica follows the primary and the Sentinels have a quorum."""
        leader, password = self.primary_name(), self._password
        try:
            for name, server in self.servers.items():
                said = await send_command(server.address, password, "ROLE")
                if name == leader and (said[0] != "master" or len(said[2]) < len(self.servers) - 1):
                    return False
                if name != leader and (said[0] != "slave" or said[3] != "connected"):
                    return False
            for port in self.ports.values():
                await send_command(f"127.0.0.1:{port}", password, "SENTINEL", "CKQUORUM", GROUP)
        except GONE:
            return False
        return True

    def primary_name(self) -> str:
        """Return the primary by the latest file of a Sentinel, else the first server."""
        found: list[tuple[int, int]] = []
        for name in self.ports:
            with contextlib.suppress(OSError, ValueError):
                text = account_files.read_account_file(self._path(name), self._one.account)
                port, epoch = _MONITOR.search(text), _EPOCH.search(text)
                if port is not None:
                    found.append((int(epoch[1]) if epoch else 0, int(port[1])))
        latest = max(found)[1] if found else 0
        names = (name for name, server in self.servers.items() if server.port == latest)
        return next(names, self._one.name)

    def _server(self, name: str) -> PartSpec:
        def role() -> Role:
            return "valkey-primary" if self.primary_name() == name else "valkey-replica"

        want = self.servers[name].wanted()
        return replace(want, role=role(), role_now=role, prepare=lambda: self._prepare(name))

    def _prepare(self, name: str) -> None:
        if name in self.ran and self.primary_name() == name:
            asyncio.run(self._successor(name))  # in a thread, so it needs its own event loop
        self.ran.add(name)
        leader = self.primary_name()
        follows = {"replicaof": f"127.0.0.1 {self.servers[leader].port}"}
        self.servers[name].prepare(
            replica_settings(self._password)
            # A primary that was replaced, and does not know it yet, must not accept writes.
            | {"min-replicas-to-write": 1, "min-replicas-max-lag": 2}
            | (follows if name != leader else {})
        )

    async def _successor(self, name: str) -> None:
        """Wait until another server is the primary, as long as the Sentinels can elect one."""
        deadline = time.monotonic() + SUCCESSOR_WITHIN_S
        others = [server.address for each, server in self.servers.items() if each != name]
        judges = [f"127.0.0.1:{port}" for port in self.ports.values()]
        while self.primary_name() == name and time.monotonic() < deadline:
            if await _alive(judges, self._password) < QUORUM:
                return
            if await _alive(others, self._password) == 0:
                return
            await asyncio.sleep(0.1)

    def _sentinel(self, name: str) -> PartSpec:
        one, address = self._one, f"127.0.0.1:{self.ports[name]}"

        async def ready() -> bool:
            return await is_answering(address, self._password)

        argv = (str(one.program), str(self._path(name)), "--sentinel")
        want = one.wanted()
        return replace(
            want,
            name=name,
            role="sentinel",
            address=address,
            launch=Launch(
                name=name, argv=argv, environ=want.launch.environ, account=want.launch.account
            ),
            ready=ready,
            alive=ready,
            prepare=lambda: self._prepare_sentinel(name),
        )

    def _prepare_sentinel(self, name: str) -> None:
        """Write a Sentinel's file unless it exists for the same ports and settings."""
        path = self._path(name)
        os_user.make_private_dir(path.parent, self._one.account)
        stamp = self._stamp()
        with contextlib.suppress(OSError, ValueError):
            if stamp in account_files.read_account_file(path, self._one.account).splitlines():
                return
        settings = f"{stamp}\n{self._settings(name)}"
        account_files.write_account_file(
            path, settings.encode(errors="surrogateescape"), self._one.account
        )

    def _stamp(self) -> str:
        ports = [*self.ports.values(), *(server.port for server in self.servers.values())]
        said = users.settings(self._one.secrets, users.SENTINEL_RIGHTS)
        facts = f"{ports} {said} {self._password} {DOWN_AFTER_MS} {FAILOVER_MS}"
        return f"# florin {sha256(facts.encode()).hexdigest()[:16]}"

    def _settings(self, name: str) -> str:
        """Return a Sentinel's settings with all servers and Sentinels, so that it can vote at once.

        Otherwise it would discover them only after some time.
        """
        leader, password = self.servers[self.primary_name()], self._password
        others = [server for server in self.servers.values() if server is not leader]
        judges = [each for each in self.ports if each != name]
        return "".join(
            (
                valkey.common_settings(
                    self.ports[name],
                    self._path(name).parent,
                    self._one.secrets,
                    users.SENTINEL_RIGHTS,
                ),
                f"sentinel myid {self._id(name)}\n",
                f"sentinel sentinel-user {users.OPERATOR}\n",
                f"sentinel sentinel-pass {password}\n",
                f"sentinel monitor {GROUP} 127.0.0.1 {leader.port} {QUORUM}\n",
                f"sentinel auth-user {GROUP} {users.OPERATOR}\n",
                f"sentinel auth-pass {GROUP} {password}\n",
                f"sentinel down-after-milliseconds {GROUP} {DOWN_AFTER_MS}\n",
                f"sentinel failover-timeout {GROUP} {FAILOVER_MS}\n",
                *(f"sentinel known-replica {GROUP} 127.0.0.1 {each.port}\n" for each in others),
                *(
                    f"sentinel known-sentinel {GROUP} 127.0.0.1 {self.ports[each]}"
                    f" {self._id(each)}\n"
                    for each in judges
                ),
            )
        )

    def _id(self, name: str) -> str:
        return sha256(f"{self.folder} {name} {self.ports[name]}".encode()).hexdigest()[:40]

    def _path(self, name: str) -> Path:
        return self.folder / name / "sentinel.conf"


def replica_settings(password: str) -> dict[str, str | int]:
    """Return the settings of a server that is, or may become, a replica."""
    return {
        "masteruser": users.OPERATOR,
        "masterauth": password,
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": 0,
        "repl-diskless-load": "on-empty-db",
        "rdb-del-sync-files": "yes",
        "repl-timeout": 10,
        "repl-ping-replica-period": 1,
    }


def sentinel_url(addresses: list[str], password: str) -> str:
    user = valkey.url_user(password)
    hosts = ",".join(addresses)
    return f"redis+sentinel://{user}@{hosts}/{GROUP}/0?sentinel_password={user.removeprefix(':')}"


async def _alive(addresses: list[str], password: str) -> int:
    return sum(await asyncio.gather(*(is_answering(address, password) for address in addresses)))
