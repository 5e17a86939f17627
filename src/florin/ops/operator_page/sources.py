"""Sources: what the operator process reads; each is read alone, so none delays another."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.samples import Sample

from florin.ops.alerting.samples import read_samples
from florin.ops.diagnostics.queue_stats import QueueStats, query_queue_stats
from florin.ops.fleet.model import Fleet, Part
from florin.ops.fleet.observe import is_serving
from florin.ops.haproxy.metrics import collect_metrics
from florin.ops.postgres import replication_lag
from florin.ops.postgres.connection import open_session
from florin.ops.postgres.replication_lag import ReplicationLag
from florin.ops.system import http_probe

_WITHIN_S = 2.0
_OK = 200
# Without the servers: HAProxy has some ten thousand samples of its free slots.
_BALANCER = "/metrics?scope=global&scope=frontend&scope=backend"


class SourceUnreachable(Exception):
    """A source did not answer; the message says which."""


@dataclass(frozen=True, slots=True)
class FleetSources:
    """Reads the parts of `fleet`, the fleet as it is now."""

    fleet: Callable[[], Fleet]
    database_url: str | None
    names: frozenset[str]  # of the metrics that are read

    async def health(self) -> dict[str, bool]:
        """Ask every part whether it serves."""
        parts = [part for part in self.fleet().parts if part.process or part.given]
        answers = await asyncio.gather(*(is_serving(part) for part in parts))
        return {part.name: answer for part, answer in zip(parts, answers, strict=True)}

    async def queues(self) -> QueueStats:
        if self.database_url is None:
            raise SourceUnreachable("DATABASE_URL is not set")
        async with open_session(self.database_url, within_s=_WITHIN_S) as connection:
            return await query_queue_stats(connection)

    async def lag(self) -> dict[str, ReplicationLag]:
        return await replication_lag.read_lag_at(self.fleet(), self._url_at)

    async def balancer(self) -> list[Sample]:
        part = next(iter(self.fleet().of("balancer")), None)
        if part is None or part.operations is None:
            raise SourceUnreachable("the fleet has no balancer")
        return read_samples(await _get(part.operations, _BALANCER), self.names)

    async def instances(self) -> list[Sample]:
        """Return the metrics of all processes; without the supervisor, those of each process."""
        fleet = self.fleet()
        balancer = next(iter(fleet.of("balancer")), None)
        if balancer is not None and balancer.operations is not None:
            answer = await http_probe.probe(
                balancer.operations, "/metrics/fleet", within_s=_WITHIN_S
            )
            if answer is not None and answer.status == _OK:
                return read_samples(answer.body.decode(errors="replace"), self.names)
        addresses = {
            part.name: part.metrics_address
            for part in (*fleet.of("api"), *fleet.of("worker"))
            if part.process and part.metrics_address
        }
        return read_samples(await collect_metrics(addresses), self.names)

    def _url_at(self, address: str) -> str:
        """Return the URL of one server: DATABASE_URL names all of them."""
        parts = urlsplit(self.database_url or "")
        user, _, _ = parts.netloc.rpartition("@")
        return f"{parts.scheme}://{user}@{address}{parts.path}"


async def _get(address: str, path: str) -> str:
    answer = await http_probe.probe(address, path, within_s=_WITHIN_S)
    if answer is None or answer.status != _OK:
        raise SourceUnreachable(f"{address}{path} does not answer")
    return answer.body.decode(errors="replace")


def running_parts(fleet: Fleet, role: str) -> list[Part]:
    return [part for part in fleet.parts if part.role == role and (part.process or part.given)]
