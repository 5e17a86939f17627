"""Settings: the settings of a balancer that do not change while its process runs."""

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

from florin.ops.fleet.timing import Timing
from florin.ops.system.os_user import OsAccount

# POST requests that only read: they are retried like a GET. A public contract of the API.
READING_POSTS = ("/api/v1/cards/lookup",)
# HAProxy is started in its folder and gets only these names: the folder's path may contain blanks
# and may be longer than a socket's path may be.
CONFIGURATION, MAP, SOCKET, CERTIFICATE = (
    "haproxy.cfg",
    "algorithm.map",
    "balancer.sock",
    "certificate.pem",
)
CONNECTIONS_PER_SOURCE = 1_000
_SPARE_FILES = 128
_SPARE_CONNECTIONS = 32  # for the operations port, which must answer while the public one is full
_NEARLY_FULL = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSettings:
    """The balancer's listeners, trusted proxies and files."""

    timing: Timing
    host: str = "127.0.0.1"
    port: int = 8000
    operations_port: int  # on loopback
    fleet_metrics_port: int | None = None  # the server of /metrics/fleet; see `metrics`
    operator_port: int | None = None  # of the operator process
    trusted_proxies: tuple[str, ...] = ()  # networks in CIDR notation
    connections_per_source: int = CONNECTIONS_PER_SOURCE
    tls: bool = False  # with the certificate and key in `certificate`
    folder: Path  # has the configuration, the map, the state and the certificate
    user: OsAccount | None = None  # the user HAProxy switches to once its ports and files are open
    threads: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))

    @property
    def configuration(self) -> Path:
        return self.folder / CONFIGURATION

    @property
    def map(self) -> Path:
        return self.folder / MAP

    @property
    def socket(self) -> Path:
        return self.folder / SOCKET

    @property
    def facts(self) -> Path:
        return self.folder / "balancer.json"

    @property
    def certificate(self) -> Path:
        return self.folder / CERTIFICATE

    def public_connections(self) -> int:
        return self.connections() - _SPARE_CONNECTIONS

    def nearly_full(self) -> int:
        """Return from how many connections on none is kept alive for another request."""
        return int(self.public_connections() * _NEARLY_FULL)

    def source_connections(self) -> int:
        """Return the limit of connections per source: at most half of all."""
        return min(self.connections_per_source, self.public_connections() // 2)

    def connections(self) -> int:
        """Return the connections that the limit on open files allows: two files per connection."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.timing.connections
        if hard == resource.RLIM_INFINITY or os.geteuid() == 0:
            return wanted
        return max(64, min(wanted, (hard - _SPARE_FILES - 2 * self.timing.slots) // 2))
