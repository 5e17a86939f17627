"""Topology: the parts that should run on this machine, and their addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from florin.ops.fleet import desired_state, secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.fleet.operator_folder import prepare_folder
from florin.ops.haproxy import frontend
from florin.ops.haproxy.balancer import Balancer
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.postgres import connection
from florin.ops.postgres import replica_set as members_
from florin.ops.postgres import server as postgres
from florin.ops.postgres.member import PostgresMember
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.releases import store
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe, os_user, ports, processes
from florin.ops.system.console import say
from florin.ops.system.os_user import OsAccount
from florin.ops.topology import api_process, mailbox_process, operator_process, worker_process
from florin.ops.topology.fleet_spec import FleetSpec, postgres_port_key
from florin.ops.valkey import topology
from florin.ops.valkey.topology import ValkeyDeployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The engines in start order, the balancer, and the environment of instances and workers."""

    database: str  # the URL that instances get
    engines: tuple[PartSpec, ...]
    given: tuple[Part, ...]  # servers named by URL: shown, never started or stopped
    environ: dict[str, str]  # of the application's processes
    balancer: Balancer
    spec: FleetSpec
    operator_folder: Path  # with the facts for the operator process
    members: ReplicaSet | None = None  # the PostgreSQL servers; None: named by URL
    memory: ValkeyDeployment | None = None  # the Valkey servers; None: named by URL
    account: OsAccount | None = None  # of the application's processes; None: the supervisor's user

    @property
    def replicas(self) -> str:
        """Return the URLs of the replicas that instances get; empty if there are none."""
        return self.environ.get("DATABASE_URL_REPLICA", "")

    @property
    def url(self) -> str:
        """Return the fleet's public URL, as far as this machine knows it."""
        return f"{'https' if self.spec.tls else 'http'}://{self.balancer.address}"

    def instance(self, name: str, mark: ReleaseMark) -> PartSpec:
        """Return an instance or worker on its earlier ports, else on free ones, which are saved."""
        home = self.spec.home
        layout = home.layout()
        part = home.fleet().part(name)
        runs = part is not None and part.process is not None and processes.is_alive(part.process)
        works = desired_state.is_worker(name)
        keys = (name,) if works else (name, f"{name}-operations")
        kept = dict(layout.ports)
        for key in keys:
            if key not in kept or not runs:
                kept[key] = ports.free_port(kept.get(key), but=kept.values())
        home.write_layout(replace(layout, ports=kept))
        commands = self.spec.commands
        make = worker_process.WorkerProcess if works else api_process.ApiProcess
        operator = {
            "FLORIN_OPERATOR_URL": f"http://127.0.0.1:{self.spec.layout.ports[frontend.OPERATOR]}"
        }
        return make(
            home=home,
            command=commands.worker if works else commands.api,
            # In development the addresses of pages are those of the balancer, if none is set.
            environ={"FLORIN_PUBLIC_URL": self.url} | operator | self.environ
            if self.environ["FLORIN_ENV"] == "development"
            else operator | self.environ,
            name=name,
            port=kept[name],
            operations_port=kept[keys[-1]],
            mark=mark,
            account=self.account,
        ).wanted()

    def operator(self, mark: ReleaseMark) -> PartSpec:
        """Return the operator process."""
        port = self.spec.layout.ports[frontend.OPERATOR]
        return operator_process.OperatorProcess(
            home=self.spec.home,
            command=self.spec.commands.operator,
            environ=self.environ,
            name=frontend.OPERATOR,
            port=port,
            operations_port=port,
            mark=mark,
            account=self.account,
            folder=self.operator_folder,
        ).wanted()

    def mailbox(self, mark: ReleaseMark) -> PartSpec | None:
        """Return the mailbox process; None if mails are sent."""
        command = self.spec.commands.mailbox
        if not self.spec.mailbox or command is None:
            return None
        port = self.spec.layout.ports[frontend.MAILBOX]
        return mailbox_process.MailboxProcess(
            home=self.spec.home,
            command=command,
            environ=self.environ,
            name=frontend.MAILBOX,
            port=port,
            operations_port=port,
            mark=mark,
            folder=self.operator_folder,
            account=self.account,
        ).wanted()

    def wanted(self, marks: Mapping[str, ReleaseMark]) -> tuple[PartSpec, ...]:
        """Return all parts in start order: the balancer starts once an instance serves."""
        instances = (self.instance(name, mark) for name, mark in marks.items())
        newest = max(marks.values(), key=lambda mark: mark.generation)
        mailbox = self.mailbox(newest)
        kept = () if mailbox is None else (mailbox,)
        return (*self.engines, *kept, *instances, self.operator(newest), self.balancer.wanted())


async def arrange_topology(spec: FleetSpec, fleet: Fleet) -> Topology:
    """Prepare the parts of a spec. Starts nothing; saves secrets, ports and directories."""
    home, layout = spec.home, spec.layout
    own = secrets.ensure_secrets(home)
    environ = _app_environ(spec, own)
    database = spec.database_url
    engines: list[PartSpec] = []
    members: ReplicaSet | None = None
    valkeys: ValkeyDeployment | None = None
    given = await _given_servers(spec)
    home.write_layout(layout)
    account = os_user.process_account(os_user.APPLICATION)
    store.share(home, account)
    if database is None or spec.redis_url is None:
        folder, user = os_user.prepare_account(home.path, layout.data_dir)
        home.write_layout(replace(home.layout(), data_dir=str(folder)))
        if database is None:
            servers = {
                name: postgres.embedded_postgres(
                    folder, layout.ports[postgres_port_key(name)], own, user, name=name
                )
                for name in spec.members
            }
            members = members_.arrange_members(home, servers, folder)
            database = environ["DATABASE_URL"] = members.url(postgres.APP)
            environ["DATABASE_URL_OWNER"] = members.url(postgres.OWNER)
            if replica_urls := members.replica_urls():
                environ["DATABASE_URL_REPLICA"] = replica_urls
            engines += _by_role(members)
        if spec.redis_url is None:
            running = [part.name for part in fleet.parts if part.process is not None]
            valkeys = topology.embedded_deployment(
                spec.desired.valkey, folder, layout.ports, own, user, running=running
            )
            environ["REDIS_URL"] = valkeys.url
            engines += valkeys.wanted()
    assert database is not None
    return Topology(
        database=database,
        engines=tuple(engines),
        given=given,
        environ=environ,
        balancer=frontend.make_balancer(spec.edge, spec.tls),
        spec=spec,
        members=members,
        memory=valkeys,
        account=account,
        operator_folder=prepare_folder(home, account, keep=_runs(fleet, frontend.OPERATOR)),
    )


def _runs(fleet: Fleet, name: str) -> bool:
    part = fleet.part(name)
    return part is not None and part.process is not None


def _app_environ(spec: FleetSpec, own: dict[str, str]) -> dict[str, str]:
    """Return the environment of instances and workers, without the URLs of the fleet's engines."""
    # Processes that serve requests need no backup keys.
    passed = {name: v for name, v in spec.environ.items() if not name.startswith("BACKUP_")}
    environ = passed | secrets.application_secrets(own, spec.environ)
    if spec.mailbox:
        environ = mailbox_process.mail_environ(environ, spec.layout.ports[frontend.MAILBOX])
    environ |= {"FLORIN_ENV": spec.environ.get("FLORIN_ENV") or "development"}
    return environ | {"FLORIN_HOME": str(spec.home.path), "PYTHONSAFEPATH": "1"}


async def _given_servers(spec: FleetSpec) -> tuple[Part, ...]:
    """Return the servers named by URL. Raises OperatorError when the database does not answer."""
    given: list[Part] = []
    if spec.database_url is not None:
        await connection.require_database(spec.database_url, "DATABASE_URL")
        given.append(_given("database", "postgres-primary", spec.database_url, 5432))
    if spec.redis_url is not None:
        given.append(_given("redis", "valkey-primary", spec.redis_url, 6379))
        if not await http_probe.is_listening(given[-1].address or ""):
            say(
                "No server answers at REDIS_URL; Florin serves without it, more slowly. Start the"
                " server or correct the URL."
            )
    return tuple(given)


def _by_role(members: ReplicaSet) -> list[PartSpec]:
    """Return the servers, the primary first: the others copy its data."""
    wants = [PostgresMember(server, members).wanted() for server in members.servers.values()]
    return sorted(wants, key=lambda want: want.role != "postgres-primary")


def running_urls(home: Home) -> dict[str, str]:
    """Return the environment variables with the URLs of the home's own running engines."""
    own, fleet, urls = secrets.read_secrets(home), observe_fleet(home), dict[str, str]()
    primaries = [part for part in fleet.of("postgres-primary") if not part.given]
    database = next(iter(primaries), None)
    redis = topology.running_url(desired_state.load_desired_state(home).valkey, fleet, own)
    if database is not None and database.process is not None and database.address:
        urls["DATABASE_URL"] = postgres.postgres_url(database.address, postgres.APP, own)
        urls["DATABASE_URL_OWNER"] = postgres.postgres_url(database.address, postgres.OWNER, own)
    if redis is not None:
        urls["REDIS_URL"] = redis
    return urls


def _given(name: str, role: str, url: str, port: int) -> Part:
    parts = urlsplit(url)
    address = f"{parts.hostname or 'localhost'}:{parts.port or port}"
    return Part(
        name=name,
        role="postgres-primary" if role == "postgres-primary" else "valkey-primary",
        state="ready",
        release="",
        address=address,
        given=True,
    )
