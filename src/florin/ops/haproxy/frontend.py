"""Frontend: the fleet's balancer, where it listens and whom it believes."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from florin.kit.settings import network_rules
from florin.ops.fleet import desired_state
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Role
from florin.ops.fleet.observe import observe_fleet
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.timing import DEFAULT
from florin.ops.haproxy import certificate, program
from florin.ops.haproxy.balancer import LOOPBACK, NAME, Balancer
from florin.ops.haproxy.settings import CONNECTIONS_PER_SOURCE, BalancerSettings
from florin.ops.system import os_user, ports
from florin.ops.system.console import OperatorError

__all__ = [
    "METRICS",
    "NAME",
    "OPERATIONS",
    "CurrentFrontend",
    "base_urls",
    "current_frontend",
    "make_balancer",
    "operations_port",
    "require_ports",
]

OPERATIONS = "balancer-operations"  # statistics and metrics of the fleet, on loopback
_PER_SOURCE = "FLORIN_CONNECTIONS_PER_SOURCE"
METRICS = "fleet-metrics"  # the supervisor's: the metrics of all instances as one document


@dataclass(frozen=True, slots=True)
class CurrentFrontend:
    """Where the fleet that runs is reached, and with which certificate and key."""

    port: int | None = None  # None: none runs
    operations_port: int | None = None
    tls: tuple[Path, Path] | None = None


def base_urls(home: Home) -> list[str]:
    """Where a caller on this machine asks: the balancer, which spares him the end of an instance.

    With TLS each instance: whether the certificate is for this host nobody knows. Empty when
    nothing runs.
    """
    fleet = observe_fleet(home)
    roles: tuple[Role, ...] = (
        ("balancer", "api") if desired_state.load_desired_state(home).tls is None else ("api",)
    )
    for role in roles:
        found = [f"http://{part.address}" for part in fleet.of(role) if part.process]
        if found:
            return found
    return []


def current_frontend(home: Home) -> CurrentFrontend:
    """Return what an `up` that does not say leaves as it is."""
    fleet = observe_fleet(home)
    part = fleet.part(NAME)
    if part is None or not any(each.process for each in (part, *fleet.of("api"))):
        return CurrentFrontend()
    port = (part.address or "").rpartition(":")[2]
    pair = desired_state.load_desired_state(home).tls
    tls = None if pair is None else (Path(pair[0]), Path(pair[1]))
    return (
        CurrentFrontend(int(port), home.layout().ports.get(OPERATIONS), tls)
        if port.isdigit()
        else CurrentFrontend()
    )


def make_balancer(options: UpOptions, ports: Mapping[str, int]) -> Balancer:
    """Return the balancer as the options want it. Raises OperatorError when there is no HAProxy."""
    edge = BalancerSettings(
        timing=DEFAULT,
        host=options.host,
        port=options.port,
        operations_port=ports[OPERATIONS],
        fleet_metrics_port=ports[METRICS],
        user=os_user.service(os_user.BALANCER),
        trusted_proxies=_trusted(options),
        connections_per_source=_per_source(options.environ.get(_PER_SOURCE)),
        tls=options.tls is not None,
        folder=options.home.path / "balancer",
    )
    if options.tls is not None:
        certificate.install_certificate(*options.tls, edge.certificate)
    return Balancer(edge=edge, program=program.find_haproxy())


def require_ports(options: UpOptions, fleet: Fleet) -> None:
    """Say that a port is taken before anything starts; our own balancer may sit on it."""
    part = fleet.part(NAME)
    runs = part if part is not None and part.process is not None else None
    asked = [("--port", options.port, options.host, runs and runs.address)]
    if options.operations_port is not None:
        if options.operations_port == options.port:
            raise OperatorError(f"--operations-port {options.port} is the public port as well.")
        here = runs and runs.operations
        asked.append(("--operations-port", options.operations_port, LOOPBACK, here))
    for option, port, host, at in asked:
        if not (at or "").endswith(f":{port}") and not ports.is_free_port(port, host):
            raise OperatorError(
                f"Port {port} is in use by {ports.port_holder(port)}; stop it, or choose another:"
                f" florin up {option} {ports.next_free(port + 1)}."
            )


def operations_port(options: UpOptions, fleet: Fleet, taken: Mapping[str, int]) -> int:
    """Return the port asked for, else the one it has, else the next free after the public one."""
    part = fleet.part(NAME)
    if options.operations_port is not None:
        return options.operations_port
    if part is not None and part.process is not None and OPERATIONS in taken:
        return taken[OPERATIONS]
    others = [port for name, port in taken.items() if name != OPERATIONS]
    return ports.next_free(options.port + 1, but=others)


def _per_source(words: str | None) -> int:
    if not words:
        return CONNECTIONS_PER_SOURCE
    if not words.isdecimal() or int(words) < 1:
        raise OperatorError(f"{_PER_SOURCE}: {words} is not a whole number from 1.")
    return int(words)


def _trusted(options: UpOptions) -> tuple[str, ...]:
    words = options.environ.get("FLORIN_TRUSTED_PROXIES", "")
    if options.environ.get("FLORIN_ENV") == "production":  # instances believe the balancer alone
        for mistake in network_rules.open_proxies({"FLORIN_TRUSTED_PROXIES": words}):
            raise OperatorError(f"{mistake}.")
    try:
        return tuple(str(ip_network(word.strip())) for word in words.split(",") if word.strip())
    except ValueError as error:
        raise OperatorError(f"FLORIN_TRUSTED_PROXIES: {error}.") from None
