"""Topology: the parts that should run on this machine, and their addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from florin.ops.fleet import desired_state, secrets
from florin.ops.fleet.home import Home, Layout
from florin.ops.fleet.model import Fleet, Kind, Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.fleet.options import UpOptions
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
from florin.ops.system.console import OperatorError, say
from florin.ops.system.os_user import OsAccount
from florin.ops.topology import api_process, worker_process
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
    options: UpOptions
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
        return f"{'https' if self.options.tls else 'http'}://{self.balancer.address}"

    def instance(self, name: str, mark: ReleaseMark) -> PartSpec:
        """Return an instance or worker on its earlier ports, else on free ones, which are saved."""
        home = self.options.home
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
        commands = self.options.commands
        make = worker_process.WorkerProcess if works else api_process.ApiProcess
        return make(
            home=home,
            command=commands.worker if works else commands.api,
            environ=self.environ,
            name=name,
            port=kept[name],
            operations_port=kept[keys[-1]],
            mark=mark,
            account=self.account,
        ).wanted()

    def wanted(self, marks: Mapping[str, ReleaseMark]) -> tuple[PartSpec, ...]:
        """Return all parts in start order: the balancer starts once an instance serves."""
        instances = (self.instance(name, mark) for name, mark in marks.items())
        return (*self.engines, *instances, self.balancer.wanted())


async def arrange_topology(options: UpOptions, fleet: Fleet) -> Topology:
    """Decide which parts run where. Starts nothing; saves ports and directories in the home."""
    own = secrets.ensure_secrets(options.home)
    # Processes that serve requests need no backup keys.
    passed = {name: v for name, v in options.environ.items() if not name.startswith("BACKUP_")}
    environ = passed | secrets.application_secrets(own, options.environ)
    environ |= {"FLORIN_ENV": options.environ.get("FLORIN_ENV") or "development"}
    environ |= {"FLORIN_HOME": str(options.home.path), "PYTHONSAFEPATH": "1"}
    database, redis = is_database_given(options), options.given("REDIS_URL")
    engines: list[PartSpec] = []
    given: list[Part] = []
    members: ReplicaSet | None = None
    valkeys: ValkeyDeployment | None = None
    kind = valkey_kind(options, fleet)
    if database is not None:
        await connection.require_database(database, "DATABASE_URL")
        given.append(_given("database", "postgres-primary", database, 5432))
    if redis is not None:
        given.append(_given("redis", "valkey-primary", redis, 6379))
        if not await http_probe.is_listening(given[-1].address or ""):
            say(
                "No server answers at REDIS_URL; Florin serves without it, more slowly. Start the"
                " server or correct the URL."
            )
    needed = _ports(options, database=database is None, valkey=kind if redis is None else None)
    layout = _layout(options, fleet, needed)
    options.home.write_layout(layout)
    account = os_user.service(os_user.APPLICATION)
    store.share(options.home, account)
    layout = options.home.layout()
    if database is None or redis is None:
        folder, user = os_user.prepare_account(options.home.path, layout.data_dir)
        options.home.write_layout(replace(layout, data_dir=str(folder)))
        if database is None:
            servers = {
                name: postgres.embedded_postgres(
                    folder, layout.ports[_port_of(name)], own, user, name=name
                )
                for name in _members(options)
            }
            members = members_.arrange_members(options.home, servers, folder)
            database = environ["DATABASE_URL"] = members.url(postgres.APP)
            environ["DATABASE_URL_OWNER"] = members.url(postgres.OWNER)
            if replica_urls := members.replica_urls():
                environ["DATABASE_URL_REPLICA"] = replica_urls
            engines += _by_role(members)
        if redis is None:
            running = [part.name for part in fleet.parts if part.process is not None]
            valkeys = topology.embedded_deployment(
                kind, folder, layout.ports, own, user, running=running
            )
            environ["REDIS_URL"] = valkeys.url
            engines += valkeys.wanted()
    assert database is not None
    return Topology(
        database=database,
        engines=tuple(engines),
        given=tuple(given),
        environ=environ,
        balancer=frontend.make_balancer(options, layout.ports),
        options=options,
        members=members,
        memory=valkeys,
        account=account,
    )


def _by_role(members: ReplicaSet) -> list[PartSpec]:
    """Return the servers, the primary first: the others copy its data."""
    wants = [PostgresMember(server, members).wanted() for server in members.servers.values()]
    return sorted(wants, key=lambda want: want.role != "postgres-primary")


def _members(options: UpOptions) -> tuple[str, ...]:
    """Return the names of the requested PostgreSQL servers, including the current primary."""
    kept = desired_state.load_desired_state(options.home).replicas
    replicas = kept if options.replicas is None else options.replicas
    return members_.member_names(replicas, members_.recorded_primary(options.home).primary)


def _port_of(name: str) -> str:
    """Return the key of a member's port in the layout."""
    return "postgres" if name == postgres.NAME else name


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


def is_database_given(options: UpOptions) -> str | None:
    return options.given("DATABASE_URL_PRIMARY") or options.given("DATABASE_URL")


def valkey_kind(options: UpOptions, fleet: Fleet) -> Kind:
    """Return the topology of Valkey: the requested one, else the last one.

    Raises OperatorError when Valkey runs in another topology: it cannot be converted while it runs.
    """
    kept = desired_state.load_desired_state(options.home).valkey
    requested = options.valkey or kept
    if options.given("REDIS_URL") is not None:
        if options.valkey is not None:
            say("--valkey has no effect: REDIS_URL names the server to use.")
        return kept
    runs = [
        part for part in fleet.parts if part.role in topology.ROLES and part.process is not None
    ]
    if requested != kept and runs:
        raise OperatorError(
            f"Valkey runs as {kept} and cannot change to {requested} while it runs. Stop the fleet"
            f" with florin down, then run florin up --valkey {requested}."
        )
    return requested


def _ports(options: UpOptions, *, database: bool, valkey: Kind | None) -> dict[str, str]:
    """Return the needed ports: the key in the layout and the part that listens on each."""
    needed = {_port_of(name): name for name in _members(options)} if database else {}
    needed |= topology.valkey_ports(valkey) if valkey is not None else {}
    return needed | {frontend.METRICS: frontend.NAME}


def _layout(options: UpOptions, fleet: Fleet, needed: Mapping[str, str]) -> Layout:
    """Return the engines' ports: of the running ones, else the earlier ones, else free ones."""
    kept = options.home.layout()
    chosen = dict(kept.ports)
    for name, part_name in needed.items():
        part = fleet.part(part_name)
        runs = part is not None and part.process is not None and name in kept.ports
        if not runs:
            chosen[name] = ports.free_port(kept.ports.get(name), but=chosen.values())
            if name in kept.ports and chosen[name] != kept.ports[name]:
                say(
                    f"Port {kept.ports[name]} of {part_name} is in use by"
                    f" {ports.port_holder(kept.ports[name])}; {part_name} moves to port"
                    f" {chosen[name]}."
                )
    chosen[frontend.OPERATIONS] = frontend.operations_port(options, fleet, chosen)
    return replace(kept, ports=chosen)


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
