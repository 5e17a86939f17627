"""Fleet spec: what a start of the fleet runs. Options, stored state and layout, resolved once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home, Layout
from florin.ops.fleet.model import Fleet, Kind
from florin.ops.fleet.options import Commands, RequestedState, UpOptions
from florin.ops.haproxy import certificate, frontend
from florin.ops.haproxy.settings import BalancerSettings
from florin.ops.planning.autoscaling import ScalingLimits
from florin.ops.postgres import replica_set
from florin.ops.postgres import server as postgres
from florin.ops.system import ports
from florin.ops.system.console import OperatorError
from florin.ops.valkey import topology


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """Everything that a start of the fleet needs to know; nothing in it is left open."""

    home: Home
    environ: Mapping[str, str]  # of the supervisor
    commands: Commands
    checkout: Path | None  # the code that a stopped fleet starts with
    development: bool
    stored: DesiredState
    requested: RequestedState  # what the options change in it
    desired: DesiredState  # both
    layout: Layout  # the ports of the engines and of the balancer
    edge: BalancerSettings
    tls: tuple[Path, Path] | None  # certificate and key
    database_url: str | None  # of a server that the fleet does not run
    redis_url: str | None
    members: tuple[str, ...]  # the names of the PostgreSQL servers; with `database_url` none
    mailbox: bool  # whether a part of the fleet keeps its mails
    limits: ScalingLimits | None  # None: derived from the machine and its database
    scale_every_s: float
    as_json: bool
    detached: bool
    notices: tuple[str, ...]  # sentences for the operator


def resolve_fleet_spec(options: UpOptions, fleet: Fleet) -> FleetSpec:
    """Return the spec of a start. Reads the home and the machine, and changes nothing.

    Raises OperatorError when the options contradict what runs: a port in use, another database,
    another topology of Valkey, an invalid certificate or setting.
    """
    home, kept = options.home, desired_state.load_desired_state(options.home)
    layout = home.layout()
    current = frontend.current_frontend(fleet, layout, kept)
    port, tls = options.port or current.port or frontend.DEFAULT_PORT, options.tls or current.tls
    frontend.require_ports(options, port, fleet)
    if tls is not None:
        certificate.join_certificate(*tls)
    require_same_database(options.database_url, fleet)
    requested = replace(options.requested, valkey=_resolve_valkey(options, kept.valkey, fleet))
    desired = replace(requested.applied_to(kept), tls=tls and (str(tls[0]), str(tls[1])))
    members: tuple[str, ...] = ()
    if options.database_url is None:
        primary = replica_set.recorded_primary(home).primary
        members = replica_set.member_names(desired.replicas, primary)
    mailbox = options.keeps_mails and find_spec("aiosmtpd") is not None
    own_valkey = desired.valkey if options.redis_url is None else None
    needed = _needed_ports(members, own_valkey, mailbox=mailbox)
    layout, moves = _resolve_layout(layout, fleet, needed)
    operations = frontend.operations_port(options.operations_port, port, fleet, layout.ports)
    layout = replace(layout, ports=layout.ports | {frontend.OPERATIONS: operations})
    return FleetSpec(
        home=home,
        environ=options.environ,
        commands=options.commands,
        checkout=options.checkout,
        development=options.development,
        stored=kept,
        requested=requested,
        desired=desired,
        layout=layout,
        edge=frontend.resolve_edge(
            options.environ, options.host, port, layout.ports, home.path / "balancer"
        ),
        tls=tls,
        database_url=options.database_url,
        redis_url=options.redis_url,
        members=members,
        mailbox=mailbox,
        limits=options.limits,
        scale_every_s=options.scale_every_s,
        as_json=options.as_json,
        detached=options.detached,
        notices=(*moves, *_limitations(options, mailbox=mailbox)),
    )


def _limitations(options: UpOptions, *, mailbox: bool) -> Iterator[str]:
    """Yield a sentence for each thing that the fleet will not do as one may expect."""
    if options.valkey is not None and options.redis_url is not None:
        yield "--valkey has no effect: REDIS_URL names the server to use."
    if options.keeps_mails and not mailbox:
        yield (
            "No mail is sent or kept: install aiosmtpd for the mailbox, or set SMTP_HOST to a mail"
            " server."
        )


def require_same_database(url: str | None, fleet: Fleet) -> None:
    """Refuse another database for running instances: money would go into two ledgers."""
    if not any(part.process for part in fleet.of("api")):
        return
    runs = next((p.address for p in fleet.of("postgres-primary") if p.given), None)
    requested = None
    if url is not None:
        parts = urlsplit(url)
        requested = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    if runs != requested:
        raise OperatorError(
            f"The running fleet uses {runs or 'its own PostgreSQL'} as its database, but"
            f" DATABASE_URL names {requested or 'none'}. Set DATABASE_URL to the same database, or"
            " stop the fleet first: florin down."
        )


def postgres_port_key(name: str) -> str:
    """Return the key of a PostgreSQL server's port in the layout."""
    return "postgres" if name == postgres.NAME else name


def _resolve_valkey(options: UpOptions, kept: Kind, fleet: Fleet) -> Kind:
    """Return the topology of Valkey: the requested one, else the last one.

    Raises OperatorError when Valkey runs in another topology: it cannot be converted while it runs.
    """
    if options.redis_url is not None:
        return kept
    requested = options.valkey or kept
    roles = topology.ROLES
    if requested != kept and any(part.process and part.role in roles for part in fleet.parts):
        raise OperatorError(
            f"Valkey runs as {kept} and cannot change to {requested} while it runs. Stop the fleet"
            f" with florin down, then run florin up --valkey {requested}."
        )
    return requested


def _needed_ports(
    members: tuple[str, ...], valkey: Kind | None, *, mailbox: bool
) -> dict[str, str]:
    """Return the needed ports: the key in the layout and the part that listens on each."""
    needed = {postgres_port_key(name): name for name in members}
    needed |= topology.valkey_ports(valkey) if valkey is not None else {}
    needed |= {frontend.MAILBOX: frontend.MAILBOX} if mailbox else {}
    return needed | {frontend.METRICS: frontend.NAME, frontend.OPERATOR: frontend.OPERATOR}


def _resolve_layout(
    kept: Layout, fleet: Fleet, needed: Mapping[str, str]
) -> tuple[Layout, list[str]]:
    """Return the layout with the ports of the running engines, else the earlier ones, else free
    ones; and a sentence for each part that moves.
    """
    chosen, notices = dict(kept.ports), list[str]()
    for key, name in needed.items():
        part = fleet.part(name)
        if part is not None and part.process is not None and key in kept.ports:
            continue
        chosen[key] = ports.free_port(kept.ports.get(key), but=chosen.values())
        if key in kept.ports and chosen[key] != kept.ports[key]:
            notices.append(
                f"Port {kept.ports[key]} of {name} is in use by"
                f" {ports.port_holder(kept.ports[key])}; {name} moves to port {chosen[key]}."
            )
    return replace(kept, ports=chosen), notices
