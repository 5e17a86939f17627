"""Operations API: public health checks; metrics and health on the operations listener."""

from collections.abc import Mapping

from litestar import get
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from florin.kit.observability import metrics
from florin.kit.server.operations import Answer, Endpoint, alive, document
from florin.services import ApiServices

_READINESS = {200: "ready", 404: "draining", 503: "unready"}


@get("/health", include_in_schema=False)
async def health(parts: ApiServices) -> Response[dict[str, object]]:
    status, report = await parts.health.report()
    return Response(report, status_code=status, headers={"cache-control": "no-store"})


@get("/health/live", include_in_schema=False)
async def health_live() -> dict[str, str]:
    return {"status": "alive"}


@get("/health/ready", include_in_schema=False)
async def health_ready(parts: ApiServices) -> Response[dict[str, str]]:
    status = parts.health.ready()
    return Response({"status": _READINESS[status]}, status_code=status)


def endpoints(parts: ApiServices) -> Mapping[str, Endpoint]:
    """Return the endpoints of an instance's operations listener, by path."""

    async def metrics_text() -> Answer:
        primary = (parts.database.pool, parts.routing.reading.pool, parts.reports.database.pool)
        for pool in (*primary, *(each.pool for each in parts.routing.replicas)):
            pool.measure()
        metrics.ledger_waiting.set(parts.ledger.waiting())
        await parts.queues.refresh()
        return Answer(200, generate_latest(metrics.registry), CONTENT_TYPE_LATEST)

    async def report() -> Answer:
        return document(*await parts.health.report())

    async def ready() -> Answer:
        status = parts.health.ready()
        return document(status, {"status": _READINESS[status]})

    return {
        "/metrics": metrics_text,
        "/health": report,
        "/health/live": alive,
        "/health/ready": ready,
    }
