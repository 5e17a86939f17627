"""Topology: what should run on this machine, and by which addresses it finds each other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from florin.ops import api, door, intent, pids, ports, probe, secrets, worker
from florin.ops.balancer.balancer import Balancer
from florin.ops.engines import account, postgres, session, valkey
from florin.ops.engines import members as members_
from florin.ops.engines.member import Member
from florin.ops.engines.members import Members
from florin.ops.fleet import Fleet, Part
from florin.ops.home import Home, Layout
from florin.ops.observe import observe
from florin.ops.options import Options
from florin.ops.rolling import Mark
from florin.ops.tell import say
from florin.ops.wanted import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The engines in the order of their start, what stands in front, and how instances are made."""

    database: str  # the URL that instances get
    engines: tuple[Wanted, ...]
    given: tuple[Part, ...]  # servers named by URL: shown, never started or stopped
    environ: dict[str, str]  # of the application's processes
    balancer: Balancer
    options: Options
    members: Members | None = None  # the PostgreSQL servers, where they are ours

    @property
    def replicas(self) -> str:
        """Return the URLs of the replicas that instances get; empty where there are none."""
        return self.environ.get("DATABASE_URL_REPLICA", "")

    @property
    def url(self) -> str:
        """Return where the public reaches the fleet, as far as this machine knows."""
        return f"{'https' if self.options.tls else 'http'}://{self.balancer.address}"

    def instance(self, name: str, mark: Mark) -> Wanted:
        """Return one instance or worker on the port it had, else a free one, remembered."""
        home = self.options.home
        layout = home.layout()
        part = home.fleet().part(name)
        runs = part is not None and part.process is not None and pids.lives(part.process)
        port = layout.ports.get(name)
        if port is None or not runs:
            port = ports.free_port(port, but=layout.ports.values())
            home.write_layout(replace(layout, ports=layout.ports | {name: port}))
        commands, environ = self.options.commands, self.environ
        if intent.works(name):
            made = worker.Worker(
                home=home, command=commands.worker, environ=environ, name=name, port=port, mark=mark
            )
            return made.wanted()
        return api.Api(
            home=home, command=commands.api, environ=environ, name=name, port=port, mark=mark
        ).wanted()

    def wanted(self, marks: Mapping[str, Mark]) -> tuple[Wanted, ...]:
        """Return everything in the order of its start: the balancer comes when somebody serves."""
        instances = (self.instance(name, mark) for name, mark in marks.items())
        return (*self.engines, *instances, self.balancer.wanted())


async def arrange(options: Options, fleet: Fleet) -> Topology:
    """Decide what runs where. Starts nothing; remembers ports and places in the home."""
    own = secrets.load(options.home)
    environ = dict(options.environ) | secrets.for_application(own, options.environ)
    environ |= {"FLORIN_ENV": options.environ.get("FLORIN_ENV") or "development"}
    environ |= {"FLORIN_HOME": str(options.home.path), "PYTHONSAFEPATH": "1"}
    database, redis = given_database(options), options.given("REDIS_URL")
    engines: list[Wanted] = []
    given: list[Part] = []
    members: Members | None = None
    if database is not None:
        await session.require(database, "DATABASE_URL")
        given.append(_given("database", "postgres-primary", database, 5432))
    if redis is not None:
        given.append(_given("redis", "valkey-primary", redis, 6379))
        if not await probe.answers(given[-1].address or ""):
            say("Nothing answers at REDIS_URL; Florin serves without it, more slowly.")
    layout = _layout(options, fleet, (database is None, redis is None))
    options.home.write_layout(layout)
    user = None
    if database is None or redis is None:
        folder, user = account.prepare(options.home, layout.place)
        options.home.write_layout(replace(layout, place=str(folder)))
        if database is None:
            servers = {
                name: postgres.embedded(folder, layout.ports[_port_of(name)], own, user, name=name)
                for name in _members(options)
            }
            members = members_.arranged(options.home, servers, folder)
            database = environ["DATABASE_URL"] = members.url(postgres.APP)
            environ["DATABASE_URL_OWNER"] = members.url(postgres.OWNER)
            if replica_urls := members.replica_urls():
                environ["DATABASE_URL_REPLICA"] = replica_urls
            engines += _by_role(members)
        if redis is None:
            memory = valkey.embedded(folder, layout.ports["valkey"], own, user)
            environ["REDIS_URL"] = memory.url
            engines.append(memory.wanted())
    assert database is not None
    return Topology(
        database=database,
        engines=tuple(engines),
        given=tuple(given),
        environ=environ,
        balancer=door.balancer(options, layout.ports, user),
        options=options,
        members=members,
    )


def _by_role(members: Members) -> list[Wanted]:
    """The primary first: the others copy it."""
    wants = [Member(server, members).wanted() for server in members.servers.values()]
    return sorted(wants, key=lambda want: want.role != "postgres-primary")


def _members(options: Options) -> tuple[str, ...]:
    """The PostgreSQL servers by name: as many as asked for, whoever is the primary among them."""
    kept = intent.read(options.home).replicas
    replicas = kept if options.replicas is None else options.replicas
    return members_.names(replicas, members_.recorded(options.home).primary)


def _port_of(name: str) -> str:
    """By which name the layout remembers a member's port."""
    return "postgres" if name == postgres.NAME else name


def running_urls(home: Home) -> dict[str, str]:
    """Return the variables that name the home's own engines, those that run."""
    own, fleet, urls = secrets.read(home), observe(home), dict[str, str]()
    primaries = [part for part in fleet.of("postgres-primary") if not part.given]
    database, memory = next(iter(primaries), None), fleet.part(valkey.NAME)
    if database is not None and database.process is not None and database.address:
        urls["DATABASE_URL"] = postgres.url_of(database.address, postgres.APP, own)
        urls["DATABASE_URL_OWNER"] = postgres.url_of(database.address, postgres.OWNER, own)
    if memory is not None and memory.process is not None and memory.address:
        urls["REDIS_URL"] = valkey.url_of(memory.address, own)
    return urls


def given_database(options: Options) -> str | None:
    return options.given("DATABASE_URL_PRIMARY") or options.given("DATABASE_URL")


def _layout(options: Options, fleet: Fleet, engines: tuple[bool, bool]) -> Layout:
    """Return where the engines listen: where they run, else where they did, else elsewhere."""
    kept = options.home.layout()
    chosen = dict(kept.ports)
    wanted = [(_port_of(name), name, engines[0]) for name in _members(options)]
    wanted += [("valkey", valkey.NAME, engines[1])]
    wanted += [(door.OPERATOR, door.NAME, True), (door.METRICS, door.NAME, True)]
    for name, part_name, needed in wanted:
        part = fleet.part(part_name)
        runs = part is not None and part.process is not None and name in kept.ports
        if needed and not runs:
            chosen[name] = ports.free_port(kept.ports.get(name), but=chosen.values())
            if name in kept.ports and chosen[name] != kept.ports[name]:
                say(
                    f"Port {kept.ports[name]} of {part_name} is taken by"
                    f" {ports.holder(kept.ports[name])}; it moves to {chosen[name]}."
                )
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
