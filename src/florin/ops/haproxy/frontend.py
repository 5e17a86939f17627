"""Frontend: the fleet's balancer, where it listens and whom it believes."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from florin.ops.fleet import desired_state
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Role
from florin.ops.fleet.observe import observe
from florin.ops.fleet.options import Options
from florin.ops.fleet.timing import DEFAULT
from florin.ops.haproxy import certificate, program
from florin.ops.haproxy.balancer import NAME, Balancer
from florin.ops.haproxy.settings import Edge
from florin.ops.system import ports
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import Account

__all__ = [
    "METRICS",
    "NAME",
    "OPERATOR",
    "Runs",
    "balancer",
    "base_urls",
    "current_frontend",
    "require_port",
]

OPERATOR = "balancer-operator"  # its statistics and metrics, on the loopback
METRICS = "fleet-metrics"  # the supervisor's: the metrics of all instances as one document


@dataclass(frozen=True, slots=True)
class Runs:
    """Where the fleet that runs is reached, and with which certificate and key."""

    port: int | None = None  # None: none runs
    tls: tuple[Path, Path] | None = None


def base_urls(home: Home) -> list[str]:
    """Where a caller on this machine asks: the balancer, which spares him the end of an instance.

    With TLS each instance: whether the certificate is for this host nobody knows. Empty when
    nothing runs.
    """
    fleet = observe(home)
    roles: tuple[Role, ...] = (
        ("balancer", "api") if desired_state.read(home).tls is None else ("api",)
    )
    for role in roles:
        found = [f"http://{part.address}" for part in fleet.of(role) if part.process]
        if found:
            return found
    return []


def current_frontend(home: Home) -> Runs:
    """Return what an `up` that does not say leaves as it is."""
    fleet = observe(home)
    part = fleet.part(NAME)
    if part is None or not any(each.process for each in (part, *fleet.of("api"))):
        return Runs()
    port = (part.address or "").rpartition(":")[2]
    pair = desired_state.read(home).tls
    tls = None if pair is None else (Path(pair[0]), Path(pair[1]))
    return Runs(int(port), tls) if port.isdigit() else Runs()


def balancer(options: Options, ports: Mapping[str, int], user: Account | None) -> Balancer:
    """Return the balancer as the options want it. Raises OperatorError when there is no HAProxy."""
    edge = Edge(
        timing=DEFAULT,
        host=options.host,
        port=options.port,
        operator_port=ports[OPERATOR],
        fleet_metrics_port=ports[METRICS],
        user=user,
        trusted_proxies=_trusted(options.environ.get("FLORIN_TRUSTED_PROXIES", "")),
        tls=options.tls is not None,
        folder=options.home.path / "balancer",
    )
    if options.tls is not None:
        certificate.install(*options.tls, edge.certificate)
    return Balancer(edge=edge, program=program.find())


def require_port(options: Options, fleet: Fleet) -> None:
    """Say that the port is taken before anything starts; our own balancer may sit on it."""
    part = fleet.part(NAME)
    port = options.port
    if part is not None and part.process is not None and (part.address or "").endswith(f":{port}"):
        return
    if not ports.is_free(port, options.host):
        raise OperatorError(
            f"Port {port} is taken by {ports.holder(port)}; stop it, or choose another:"
            f" florin up --port {ports.free_port(port + 1)}."
        )


def _trusted(words: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(word.strip())) for word in words.split(",") if word.strip())
    except ValueError as error:
        raise OperatorError(f"FLORIN_TRUSTED_PROXIES: {error}.") from None
