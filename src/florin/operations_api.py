"""Operations API: the routes of health, readiness and metrics."""

from litestar import get
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from florin.kit.observability import metrics
from florin.services import Parts

_METRICS_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # the framework names it


@get("/health", include_in_schema=False)
async def health(parts: Parts) -> Response[dict[str, object]]:
    status, document = await parts.health.report()
    return Response(document, status_code=status, headers={"cache-control": "no-store"})


@get("/health/live", include_in_schema=False)
async def health_live() -> dict[str, str]:
    return {"status": "alive"}


@get("/health/ready", include_in_schema=False)
async def health_ready(parts: Parts) -> Response[dict[str, str]]:
    status = parts.health.ready()
    words = {200: "ready", 404: "draining", 503: "unready"}
    return Response({"status": words[status]}, status_code=status)


@get("/metrics", include_in_schema=False)
async def metrics_text(parts: Parts) -> Response[bytes]:
    for pool in (parts.database.pool, *(each.pool for each in parts.routing.replicas)):
        pool.measure()
    metrics.ledger_waiting.set(parts.ledger.waiting())
    await parts.queues.refresh()
    return Response(generate_latest(metrics.registry), media_type=_METRICS_TYPE)
