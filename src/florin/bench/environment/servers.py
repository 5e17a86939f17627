"""Servers: a benchmark's own PostgreSQL and instances, always removed afterwards."""

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
# By role: the setting of its port, and the path that answers 200 once it is ready.
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
    """A worker process, its address and its log."""

    address: str
    process: ProcessId
    started: StartedProcess
    log: Path

    async def stop(self) -> None:
        """Stop the worker as a deployment does: it finishes its jobs."""
        await start_stop.stop_process(self.process, "worker", started=self.started)


class BenchServers:
    """The servers of a benchmark: one PostgreSQL, its databases, and instances on them."""

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
        """Return the CPU used so far; workers are counted with the instances."""
        pids = [instance.pid for instance in self.instances]
        pids += [worker.process.pid for worker in workers]
        return cpu_usage.read_cpu_usage(pids, self._postmaster, self.balancer)

    def peak_rss_mb(self) -> float:
        return max((cpu_usage.peak_rss_mb(instance.pid) for instance in self.instances), default=0)

    async def start_postgres(self, *, space_mb: int = _SPACE_MB) -> None:
        """Start PostgreSQL with fsync, as in production, and migrate its database."""
        folder, user = self.place(space_mb)
        server = postgres.embedded_postgres(folder, ports.free_port(), self.secrets, user)
        await self.serve(server, server.wanted())
        await self.migrate(postgres.DATABASE)

    def place(self, space_mb: int = _SPACE_MB) -> tuple[Path, OsAccount | None]:
        """Return the folder of the engines' data, and the account that they run as."""
        require_space(self.home.path, space_mb, "this benchmark")
        folder, user = os_user.prepare_account(self.home.path, None)
        if folder != self.home.path:
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        require_space(folder, space_mb, "this benchmark")
        return folder, user

    async def serve(self, server: Postgres, spec: PartSpec) -> None:
        """Start the PostgreSQL server that takes all writes."""
        self._server = server
        started = await self.start(spec)
        assert started.process is not None
        self._postmaster = started.process.pid
        await spec.settle()

    async def add_database(self, name: str) -> None:
        """Make another migrated database on the same server."""
        admin = await self.admin()
        try:
            await admin.execute(f"create database {name} owner {postgres.OWNER}")
        finally:
            await admin.close()
        await self.migrate(name)

    async def admin(self, database: str = postgres.DATABASE) -> Any:
        """Return a connection as the superuser, for seeding and checks; the caller closes it."""
        return await open_connection(self.url(postgres.SUPERUSER, database), name="florin bench")

    async def start_instance(
        self,
        database: str = postgres.DATABASE,
        *,
        settings: Mapping[str, str] | None = None,
        module: Sequence[str] = ("florin", "api"),
    ) -> BenchInstance:
        name = f"api-{len(self.instances) + 1}"
        settings = {"FLORIN_DRAIN_S": "0", **(settings or {})}
        started = await self._start_own(name, "api", module, database, settings)
        self.instances.append(BenchInstance(address=started.address, pid=started.process.pid))
        return self.instances[-1]

    async def start_worker(
        self,
        *module: str,
        database: str = postgres.DATABASE,
        settings: Mapping[str, str] | None = None,
    ) -> "BenchWorker":
        """Start `python -m MODULE …`, which answers /metrics once it is ready."""
        self._workers += 1
        return await self._start_own(
            f"worker-{self._workers}", "worker", module, database, settings or {}
        )

    async def _start_own(
        self,
        name: str,
        role: Literal["api", "worker"],
        module: Sequence[str],
        database: str,
        settings: Mapping[str, str],
    ) -> "BenchWorker":
        """Start a Florin process that connects as the application's role, as in production."""
        address = f"127.0.0.1:{ports.free_port()}"
        port_setting, path = _ANSWERS[role]
        environ = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(florin.__file__).parents[1]),
            "DATABASE_URL": self.url(postgres.APP, database),
            "FLORIN_ENV": "production",
            port_setting: str(http_probe.split_address(address)[1]),
            "FLORIN_INSTANCE": name,
            "FLORIN_RELEASE": self.release,
            "FLORIN_LOG_LEVEL": "info",
            **secrets.application_secrets(self.secrets, {}),
            **settings,
        }

        async def ready() -> bool:
            answer = await http_probe.probe(address, path)
            return answer is not None and answer.status == _READY

        spec = PartSpec(
            name=name,
            role=role,
            address=address,
            release=self.release,
            launch=Launch(name=name, argv=(sys.executable, "-P", "-m", *module), environ=environ),
            ready=ready,
            ready_within_s=30,
        )
        started = await self.start(spec)
        assert started.process is not None
        return BenchWorker(address, started.process, started, self.home.log(name))

    async def start(self, spec: PartSpec) -> StartedProcess:
        voice.status(f"Starting {spec.name} …")
        # In a thread: what prepares a part may run an event loop of its own.
        started = await asyncio.to_thread(start_stop.start_part, self.home, spec)
        if started.process is not None:
            self._stack.push_async_callback(
                start_stop.stop_process, started.process, spec.role, started=started
            )
        try:
            await start_stop.wait_until_ready(self.home, spec, started)
        except start_stop.PartEnded as ended:
            raise OperatorError(str(ended)) from None
        return started

    async def migrate(self, database: str) -> None:
        voice.status("Migrating …")
        await migrations.run_migrations(
            owner_url=self.url(postgres.OWNER, database),
            app_url=self.url(postgres.APP, database),
            only_plan=False,
        )


def _home(folder: Path) -> Home:
    # As root, engines run under another account, which must be able to traverse the folder.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    home = Home(folder)
    home.make()
    return home


@asynccontextmanager
async def bench_servers(release: str) -> AsyncGenerator[BenchServers]:
    """Yield servers in a temporary home; at the end stop all parts and remove the home."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="florin-bench-"))
    except OSError as error:
        raise OperatorError(
            f"Cannot make a temporary directory ({error.strerror}); set TMPDIR to one with space."
        ) from None
    stack = AsyncExitStack()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        home = _home(folder)
        yield BenchServers(home, stack, release)
    finally:
        voice.clear()
        # Shielded: a Ctrl-C while the parts stop must not leave the rest running.
        await asyncio.shield(asyncio.ensure_future(stack.aclose()))
