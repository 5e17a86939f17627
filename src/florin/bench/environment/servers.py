"""Servers: a PostgreSQL and instances of a benchmark's own, gone afterwards whatever happens."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import florin
from florin.bench.environment import cpu_usage
from florin.bench.environment.cpu_usage import CpuUsage
from florin.kit.postgres import migrations
from florin.kit.postgres.database import open_connection
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home, require_space
from florin.ops.postgres import server as postgres
from florin.ops.postgres.server import Postgres
from florin.ops.supervisor import start_stop
from florin.ops.supervisor.launch import Launch, StartedProcess
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe, os_user, ports
from florin.ops.system.console import OperatorError, voice
from florin.ops.system.os_user import OsAccount
from florin.ops.system.processes import ProcessId

_READY = 200
# By role: the setting that names its port, and where it answers once it does its work.
_ANSWERS = {
    "api": ("FLORIN_PORT", "/health/ready"),
    "worker": ("FLORIN_OPERATIONS_PORT", "/metrics"),
}
_SPACE_MB = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchInstance:
    """One process of the API."""

    address: str
    pid: int

    @property
    def port(self) -> int:
        return http_probe.split_address(self.address)[1]


@dataclass(frozen=True, slots=True)
class BenchWorker:
    """A process that works in the background, and what it says."""

    address: str
    process: ProcessId
    started: StartedProcess
    log: Path

    async def stop(self) -> None:
        """End it as a deployment does: it finishes what it has."""
        await start_stop.stop_process(self.process, "worker", started=self.started)


class BenchServers:
    """The topology: one server, any number of databases, instances on them."""

    def __init__(self, home: Home, stack: AsyncExitStack, release: str) -> None:
        self.home = home
        self.release = release
        self.secrets = secrets.ensure_secrets(home)
        self.instances: list[BenchInstance] = []
        self._stack = stack
        self._server: Postgres | None = None
        self._postmaster = 0
        self.balancer: int | None = None
        self._workers = 0

    @property
    def server(self) -> Postgres:
        assert self._server is not None
        return self._server

    def url(self, role: str, database: str = postgres.DATABASE) -> str:
        parts = urlsplit(self.server.url(role))
        return urlunsplit(parts._replace(path=f"/{database}"))

    def used(self, *workers: BenchWorker) -> CpuUsage:
        """CPU so far; workers count as instances do."""
        pids = [instance.pid for instance in self.instances]
        pids += [worker.process.pid for worker in workers]
        return cpu_usage.read_cpu_usage(pids, self._postmaster, self.balancer)

    def peak_rss_mb(self) -> float:
        return max((cpu_usage.peak_rss_mb(instance.pid) for instance in self.instances), default=0)

    async def start_postgres(self, *, space_mb: int = _SPACE_MB) -> None:
        """Start the server that fsyncs as in production, with a migrated database."""
        folder, user = self.place(space_mb)
        server = postgres.embedded_postgres(folder, ports.free_port(), self.secrets, user)
        await self.serve(server, server.wanted())
        await self.migrate(postgres.DATABASE)

    def place(self, space_mb: int = _SPACE_MB) -> tuple[Path, OsAccount | None]:
        """Where the engines' data goes, and the user they run as."""
        require_space(self.home.path, space_mb, "this benchmark")
        folder, user = os_user.prepare_account(self.home.path, None)
        if folder != self.home.path:
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        require_space(folder, space_mb, "this benchmark")
        return folder, user

    async def serve(self, server: Postgres, want: PartSpec) -> None:
        """Start the server that everything writes to."""
        self._server = server
        started = await self.start(want)
        assert started.process is not None
        self._postmaster = started.process.pid
        await want.settle()

    async def add_database(self, name: str) -> None:
        """Make another migrated database on the same server."""
        admin = await self.admin()
        try:
            await admin.execute(f"create database {name} owner {postgres.OWNER}")
        finally:
            await admin.close()
        await self.migrate(name)

    async def admin(self, database: str = postgres.DATABASE) -> Any:
        """A connection as the superuser, to seed and to judge; the caller closes it."""
        return await open_connection(self.url(postgres.SUPERUSER, database), name="florin bench")

    async def start_instance(
        self, database: str = postgres.DATABASE, *, told: Mapping[str, str] | None = None
    ) -> BenchInstance:
        name = f"api-{len(self.instances) + 1}"
        told = {"FLORIN_DRAIN_S": "0", **(told or {})}
        found = await self._start_own(name, "api", ("florin", "api"), database, told)
        instance = BenchInstance(address=found.address, pid=found.process.pid)
        self.instances.append(instance)
        return instance

    async def start_worker(
        self, *module: str, database: str = postgres.DATABASE, told: Mapping[str, str] | None = None
    ) -> "BenchWorker":
        """Start `python -m MODULE …`, which answers /metrics once it works."""
        self._workers += 1
        return await self._start_own(
            f"worker-{self._workers}", "worker", module, database, told or {}
        )

    async def _start_own(
        self,
        name: str,
        role: Literal["api", "worker"],
        module: Sequence[str],
        database: str,
        told: Mapping[str, str],
    ) -> "BenchWorker":
        """Start a process of Florin by the role of the application, as in production."""
        address = f"127.0.0.1:{ports.free_port()}"
        wire, path = _ANSWERS[role]
        environ = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(florin.__file__).parents[1]),
            "DATABASE_URL": self.url(postgres.APP, database),
            "FLORIN_ENV": "production",
            wire: str(http_probe.split_address(address)[1]),
            "FLORIN_INSTANCE": name,
            "FLORIN_RELEASE": self.release,
            "FLORIN_LOG_LEVEL": "info",
            **secrets.application_secrets(self.secrets, {}),
            **told,
        }

        async def ready() -> bool:
            answer = await http_probe.probe(address, path)
            return answer is not None and answer.status == _READY

        want = PartSpec(
            name=name,
            role=role,
            address=address,
            release=self.release,
            launch=Launch(name=name, argv=(sys.executable, "-P", "-m", *module), environ=environ),
            ready=ready,
            ready_within_s=30,
        )
        started = await self.start(want)
        assert started.process is not None
        return BenchWorker(address, started.process, started, self.home.log(name))

    async def start(self, want: PartSpec) -> StartedProcess:
        voice.status(f"Starting {want.name} …")
        started = start_stop.start_part(self.home, want)
        if started.process is not None:
            self._stack.push_async_callback(
                start_stop.stop_process, started.process, want.role, started=started
            )
        try:
            await start_stop.wait_until_ready(self.home, want, started)
        except start_stop.PartEnded as died:
            raise OperatorError(str(died)) from None
        return started

    async def migrate(self, database: str) -> None:
        voice.status("Migrating …")
        await migrations.run_migrations(
            owner_url=self.url(postgres.OWNER, database),
            app_url=self.url(postgres.APP, database),
            only_plan=False,
        )


def _home(folder: Path) -> Home:
    # Root's engines run as another user, who must be able to pass through.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    home = Home(folder)
    home.make()
    return home


@asynccontextmanager
async def bench_servers(release: str) -> AsyncGenerator[BenchServers]:
    """A temporary home; at the end what was started is stopped, last first, and it is removed."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="florin-bench-"))
    except OSError as error:
        raise OperatorError(
            f"No temporary directory could be made ({error.strerror}); set TMPDIR to one with room."
        ) from None
    stack = AsyncExitStack()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        home = _home(folder)
        yield BenchServers(home, stack, release)
    finally:
        voice.clear()
        # Shielded: a Ctrl-C while everything stops must not leave the rest running.
        await asyncio.shield(asyncio.ensure_future(stack.aclose()))
