"""Frontend: the fleet's balancer with its listeners and trusted proxies."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from florin.kit.settings import network_rules
from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home, Layout
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
    "DEFAULT_PORT",
    "METRICS",
    "NAME",
    "OPERATIONS",
    "OPERATOR",
    "CurrentFrontend",
    "base_urls",
    "current_frontend",
    "make_balancer",
    "operations_port",
    "require_ports",
    "resolve_edge",
]

DEFAULT_PORT = 8000
OPERATIONS = "balancer-operations"  # statistics and metrics of the fleet, on loopback
_PER_SOURCE = "FLORIN_CONNECTIONS_PER_SOURCE"
MAILBOX = "mailbox"  # of the mailbox process; next to the operator's, among the ports of the fleet
OPERATOR = "operator"  # of the operator process, which the operations port forwards to
METRICS = "fleet-metrics"  # of the supervisor: the metrics of all processes as one document


@dataclass(frozen=True, slots=True)
class CurrentFrontend:
    """The ports, certificate and key of the running fleet."""

    port: int | None = None  # None: none runs
    operations_port: int | None = None
    tls: tuple[Path, Path] | None = None


def base_urls(home: Home) -> list[str]:
    """Return the URLs for a caller on this machine: the balancer, which hides instance restarts.

    With TLS those of the instances, since the certificate may not be valid for this host. Empty
    when nothing runs.
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


def current_frontend(fleet: Fleet, layout: Layout, kept: DesiredState) -> CurrentFrontend:
    """Return the settings that `florin up` keeps unless its options change them."""
    part = fleet.part(NAME)
    port = "" if part is None else (part.address or "").rpartition(":")[2]
    if not port.isdigit() or not any(each.process for each in (*fleet.of("api"), part) if each):
        return CurrentFrontend()
    tls = None if kept.tls is None else (Path(kept.tls[0]), Path(kept.tls[1]))
    return CurrentFrontend(int(port), layout.ports.get(OPERATIONS), tls)


def resolve_edge(
    environ: Mapping[str, str], host: str, port: int, ports: Mapping[str, int], folder: Path
) -> BalancerSettings:
    """Return the balancer's settings from variables and ports. Raises OperatorError."""
    return BalancerSettings(
        timing=DEFAULT,
        host=host,
        port=port,
        operations_port=ports[OPERATIONS],
        fleet_metrics_port=ports[METRICS],
        operator_port=ports[OPERATOR],
        user=os_user.process_account(os_user.BALANCER),
        trusted_proxies=_trusted(environ),
        connections_per_source=_per_source(environ.get(_PER_SOURCE)),
        folder=folder,
    )


def make_balancer(edge: BalancerSettings, tls: tuple[Path, Path] | None) -> Balancer:
    """Return the balancer; installs the certificate. Raises OperatorError without HAProxy."""
    if tls is not None:
        certificate.install_certificate(*tls, edge.certificate)
    return Balancer(edge=replace(edge, tls=tls is not None), program=program.find_haproxy())


def require_ports(options: UpOptions, port: int, fleet: Fleet) -> None:
    """Raise OperatorError when a port is in use, except by the fleet's own balancer.

    Called before anything starts.
    """
    part = fleet.part(NAME)
    runs = part if part is not None and part.process is not None else None
    asked = [("--port", port, options.host, runs and runs.address)]
    if options.operations_port is not None:
        if options.operations_port == port:
            raise OperatorError(
                f"--operations-port {port} is also the public port; choose another one."
            )
        here = runs and runs.operations
        asked.append(("--operations-port", options.operations_port, LOOPBACK, here))
    for option, number, host, at in asked:
        if not (at or "").endswith(f":{number}") and not ports.is_free_port(number, host):
            raise OperatorError(
                f"Port {number} is in use by {ports.port_holder(number)}; stop that process, or"
                f" choose another port: florin up {option} {ports.next_free(number + 1)}."
            )


def operations_port(
    requested: int | None, port: int, fleet: Fleet, taken: Mapping[str, int]
) -> int:
    """Return the requested port, else the current one, else the next free after the public port."""
    part = fleet.part(NAME)
    if requested is not None:
        return requested
    if part is not None and part.process is not None and OPERATIONS in taken:
        return taken[OPERATIONS]
    others = [port for name, port in taken.items() if name != OPERATIONS]
    return ports.next_free(port + 1, but=others)


def _per_source(words: str | None) -> int:
    if not words:
        return CONNECTIONS_PER_SOURCE
    if not words.isdecimal() or int(words) < 1:
        raise OperatorError(f"{_PER_SOURCE}={words} is invalid; give a whole number of at least 1.")
    return int(words)


def _trusted(environ: Mapping[str, str]) -> tuple[str, ...]:
    words = environ.get("FLORIN_TRUSTED_PROXIES", "")
    if environ.get("FLORIN_ENV") == "production":  # instances trust only the balancer
        for mistake in network_rules.open_proxies({"FLORIN_TRUSTED_PROXIES": words}):
            raise OperatorError(f"{mistake}.")
    try:
        return tuple(str(ip_network(word.strip())) for word in words.split(",") if word.strip())
    except ValueError as error:
        raise OperatorError(f"FLORIN_TRUSTED_PROXIES: {error}.") from None
