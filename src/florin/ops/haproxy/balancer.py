"""Balancer: changes to the balancer. Each is written to the files, then sent over the socket.

HAProxy starts with the state in the files; `restore` repairs the difference after a kill between
the two steps. A lock serialises the changes of several processes.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from florin.ops.fleet.home import write_file
from florin.ops.fleet.model import Algorithm
from florin.ops.haproxy import certificate, config, runtime_api, server_slots
from florin.ops.haproxy.program import HaproxyProgram
from florin.ops.haproxy.runtime_api import Admin, Check, HaproxyUnreachable
from florin.ops.haproxy.server_slots import BalancerState, SlotServer
from florin.ops.haproxy.settings import CERTIFICATE, CONFIGURATION, MAP, SOCKET, BalancerSettings
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import HotSwap, PartSpec
from florin.ops.system import http_probe

NAME = "balancer"
LOOPBACK = "127.0.0.1"  # where the operations port is
_LOCK_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """One instance as the running balancer sees it; `sessions` is the sum over all algorithms."""

    name: str
    slot: int
    address: str
    admin: Admin
    check: Check
    sessions: int
    requests: int


@dataclass(frozen=True, slots=True)
class Balancer:
    edge: BalancerSettings
    program: HaproxyProgram
    release: str = ""

    @property
    def address(self) -> str:
        local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to reach it
        host = self.edge.host
        return f"{local.get(host, f'[{host}]' if ':' in host else host)}:{self.edge.port}"

    @property
    def operations(self) -> str:
        return f"{LOOPBACK}:{self.edge.operations_port}"

    def wanted(self) -> PartSpec:
        """Return the balancer as a part. Its wiring covers the settings that need a new process."""
        fixed = config.render_config(self.edge, BalancerState())
        return PartSpec(
            name=NAME,
            role="balancer",
            address=self.address,
            operations=self.operations,
            release=f"HAProxy {self.program.version}",
            launch=self._launch(),
            ready=self.ready_to_serve,
            ready_within_s=10,
            alive=self.alive,
            wiring=sha256(fixed.encode()).hexdigest()[:12],
            prepare=self.prepare,
            settle=self.restore,
            # The new process takes over the open ports; the current one finishes its connections.
            relief=HotSwap(
                lambda pid: self._launch("-x", SOCKET, "-sf", str(pid)), self.answers_as
            ),
        )

    def _launch(self, *more: str) -> Launch:
        words = ("-db", "-C", str(self.edge.folder), "-f", CONFIGURATION, *more)
        environ = {"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}
        return Launch(name=NAME, argv=(str(self.program.path), *words), environ=environ)

    def prepare(self) -> None:
        """Write the files that HAProxy reads when it starts."""
        self.edge.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self.facts())

    async def ready_to_serve(self) -> bool:
        return await self.alive() and await http_probe.is_listening(self.address)

    async def answers_as(self, pid: int) -> bool:
        """Return whether the process with this pid has the socket now."""
        try:
            return f"\nPid: {pid}\n" in await runtime_api.send_command(
                self.edge.socket, "show info", within_s=3
            )
        except HaproxyUnreachable:
            return False

    async def alive(self) -> bool:
        try:
            return bool(await runtime_api.send_command(self.edge.socket, "show info", within_s=3))
        except HaproxyUnreachable:
            return False

    def facts(self) -> BalancerState:
        return server_slots.read_state(self.edge.facts)

    async def admit(self, name: str, address: str) -> None:
        """Send requests to this instance from now on; it must be ready already."""
        slots = self.edge.timing.slots
        await self._change(lambda known: known.admitting(name, address, slots=slots))

    async def ready(self, name: str) -> None:
        """Admit a drained instance again."""
        known = self.facts().server(name)
        if known is not None:
            await self.admit(name, known.address)

    async def drain(self, name: str) -> None:
        """Send an instance no new requests; it finishes the ones it has."""
        await self._change(lambda known: known.draining(name))

    async def switch_servers(self, admit: Mapping[str, str], drain: Iterable[str]) -> None:
        """Admit these instances (name: address) and drain those, in one batch of commands.

        The balancer is not reloaded: open connections stay, and their next request goes to an
        instance that is admitted. Admissions come first, so that an instance serves at any time.
        """
        slots = self.edge.timing.slots
        await self._change(lambda known: known.switching(admit, drain, slots=slots))

    async def forget(self, name: str) -> None:
        """Free an instance's slot; its remaining sessions are ended."""
        await self._change(lambda known: known.forgetting(name))

    async def switch(self, algorithm: Algorithm) -> None:
        await self._change(lambda known: known.switched(algorithm))

    async def restore(self) -> None:
        """Bring the running HAProxy into the state in the files."""
        async with self._alone():
            known = self.facts()
            self._write(known)
            running = {
                row.server: row
                for row in await runtime_api.read_servers(self.edge.socket)
                if row.backend == config.PANIC
            }
            commands = [_switching(known)]
            for slot in range(1, self.edge.timing.slots + 1):
                server, row = known.of_slot(slot), running[config.server_name(slot)]
                if server is not None or row.admin != "maintenance":
                    commands += _placing(slot, server)
            await runtime_api.send_changes(self.edge.socket, commands)

    async def observe(self) -> tuple[InstanceState, ...]:
        """Return the current state of every known instance. Raises HaproxyUnreachable."""
        known, found = self.facts(), await runtime_api.read_servers(self.edge.socket)
        seen: list[InstanceState] = []
        for server in known.servers:
            own = [row for row in found if row.server == config.server_name(server.slot)]
            judged = next(row for row in own if row.backend == config.PROBING)
            seen.append(
                InstanceState(
                    name=server.name,
                    slot=server.slot,
                    address=judged.address,
                    admin=judged.admin,
                    check=judged.check,
                    sessions=sum(row.sessions for row in own),
                    requests=sum(row.requests for row in own),
                )
            )
        return tuple(seen)

    async def replace_certificate(self, cert: Path, key: Path) -> None:
        """Use another certificate for new connections, and after the next start. Raises
        OperatorError.
        """
        pem = certificate.join_certificate(cert, key)
        async with self._alone():
            await runtime_api.replace_certificate(self.edge.socket, CERTIFICATE, pem)
            write_file(self.edge.certificate, pem.encode())

    async def _change(self, change: Callable[[BalancerState], BalancerState]) -> None:
        async with self._alone():
            before = self.facts()
            after = change(before)
            self._write(after)
            commands = [_switching(after)] if after.algorithm != before.algorithm else []
            slots = {server.slot for server in before.servers + after.servers}
            changed = [slot for slot in slots if before.of_slot(slot) != after.of_slot(slot)]
            for slot in sorted(changed, key=lambda slot: (not after.admits(slot), slot)):
                commands += _placing(slot, after.of_slot(slot))
            await runtime_api.send_changes(self.edge.socket, commands)

    def _write(self, known: BalancerState) -> None:
        server_slots.save_state(self.edge.facts, known)
        write_file(self.edge.map, config.render_map(known).encode())
        write_file(self.edge.configuration, config.render_config(self.edge, known).encode())

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """Serialise changes across processes; the kernel releases the lock of a dead process."""
        handle = os.open(self.edge.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(handle)


def _switching(known: BalancerState) -> str:
    return f"set map {MAP} {config.MAP_KEY} {known.algorithm}"


def _placing(slot: int, server: SlotServer | None) -> list[str]:
    """Return the commands that assign a slot to this server, or free it."""
    name = config.server_name(slot)
    if server is None:
        # Maintenance first: no request may go to the address of a free slot.
        return [
            *_state(name, "maint"),
            *(f"shutdown sessions server {backend}/{name}" for backend in config.EVERY),
        ]
    host, port = http_probe.split_address(server.address)
    return [
        *(f"set server {backend}/{name} addr {host} port {port}" for backend in config.EVERY),
        *_state(name, "ready" if server.admitted else "drain"),
    ]


def _state(name: str, state: str) -> list[str]:
    # The backends that follow take the state of the one that probes.
    return [
        f"set server {backend}/{name} state {state}" for backend in (config.PANIC, config.PROBING)
    ]
