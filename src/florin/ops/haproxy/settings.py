"""Settings: the settings of a balancer that last as long as its process."""

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

from florin.ops.fleet.timing import Timing
from florin.ops.system.os_user import OsAccount

# POSTs that only read: repeated like a GET. A public contract, not knowledge about gift cards.
READING_POSTS = ("/api/v1/cards/lookup",)
# HAProxy is started in the folder and told these names alone: a folder may have blanks in its path
# and be longer than the path of a socket may be.
CONFIGURATION, MAP, SOCKET, CERTIFICATE = (
    "haproxy.cfg",
    "algorithm.map",
    "balancer.sock",
    "certificate.pem",
)
CONNECTIONS_PER_SOURCE = 1_000
_SPARE_FILES = 128
_SPARE_CONNECTIONS = 32  # of the operations port: it answers while the public one is full
_NEARLY_FULL = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSettings:
    """Where the balancer listens, whom it believes, where its files lie."""

    timing: Timing
    host: str = "127.0.0.1"
    port: int = 8000
    operations_port: int  # on loopback
    fleet_metrics_port: int | None = None  # who answers /metrics/fleet; see `metrics`
    trusted_proxies: tuple[str, ...] = ()  # networks
    connections_per_source: int = CONNECTIONS_PER_SOURCE
    tls: bool = False  # the pair lies in `certificate`
    folder: Path  # its own: the configuration, the map, the facts, the certificate
    user: OsAccount | None = None  # whom HAProxy becomes once it has its ports and files
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
        """From how many on a connection is not kept for a next request."""
        return int(self.public_connections() * _NEARLY_FULL)

    def source_connections(self) -> int:
        """What one source may have open; never so many that others find no room."""
        return min(self.connections_per_source, self.public_connections() // 2)

    def connections(self) -> int:
        """What the limit on open files allows: two files a connection."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.timing.connections
        if hard == resource.RLIM_INFINITY or os.geteuid() == 0:
            return wanted
        return max(64, min(wanted, (hard - _SPARE_FILES - 2 * self.timing.slots) // 2))
