"""Endpoint: the metrics of the whole fleet, for /metrics/fleet of the operations port."""

import contextlib
from collections.abc import AsyncGenerator

from florin.ops.autoscaling.autoscaler import Autoscaler
from florin.ops.backups import status
from florin.ops.haproxy import metrics
from florin.ops.metrics.collector import FleetCollector
from florin.ops.rollout.executor import FleetContext
from florin.ops.system.console import say


@contextlib.asynccontextmanager
async def serve_metrics(running: FleetContext, scaling: Autoscaler) -> AsyncGenerator[None]:
    """Serve the metrics of all processes, for /metrics/fleet of the operations port."""

    def instances() -> dict[str, str]:
        parts = (
            *running.fleet.fleet.of("api"),
            *running.workers.there(),
            *running.fleet.fleet.of("operator"),
        )
        addresses = ((part.name, part.metrics_address) for part in parts if part.process)
        return {name: address for name, address in addresses if address}

    collector = FleetCollector(running)

    async def own() -> str:
        watchdog = running.fleet.watchdog
        texts = (scaling.metrics(), status.backup_metrics(running.home), watchdog.metrics())
        return "".join((*texts, await collector.text()))

    port = running.topology.balancer.edge.fleet_metrics_port
    assert port is not None
    try:
        server = await metrics.serve_fleet_metrics(port, instances, own)
    except OSError as error:
        say(f"/metrics/fleet is not served: port {port} cannot be opened: {error.strerror}.")
        yield
        return
    lag = running.fleet.watchdog.watch("event loop lag", collector.watch_lag)
    async with server:
        yield
    lag.cancel()
