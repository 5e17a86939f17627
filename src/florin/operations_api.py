"""Operations API: public health checks; metrics and health on the operations listener."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import get
from litestar.response import Response

from florin.kit.errors import Refusal
from florin.kit.observability import metrics
from florin.kit.server.operations import Answer, Endpoint, MeasuredMetrics, alive, document
from florin.routes import BASE, NEEDS
from florin.services import ApiServices

# What the database reports is read at most once in this time, and a scrape waits so long for it:
# with a database that does not answer, the other metrics still arrive in time.
_READ_EVERY_S, _READ_WITHIN_S = 1.0, 0.5
_BUG = 500
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


class DatabaseFacts:
    """Reads what the database reports for a scrape, once at a time."""

    def __init__(self, *readings: Callable[[], Awaitable[None]]) -> None:
        self._readings = readings
        self._reading: asyncio.Future[Any] | None = None
        self._at = 0.0

    async def refresh(self) -> None:
        """Read, and wait for that only a moment; the metrics keep their values until then."""
        reading = self._reading
        if reading is None or reading.done():
            if time.monotonic() < self._at + _READ_EVERY_S:
                return
            self._at = time.monotonic()
            reading = asyncio.gather(*(read() for read in self._readings), return_exceptions=True)
            self._reading = reading
        await asyncio.wait({reading}, timeout=_READ_WITHIN_S)


def zero_series() -> None:
    """Create the series of every route and refusal at 0, so that the first failure counts."""
    refusals = _refusals(Refusal)
    failures = {_BUG, *(each.status for each in refusals if each.status >= _BUG)}
    names = [tuple(name.split(" ", 1)) for name in NEEDS]
    metrics.zero_requests([(method, BASE + path) for method, path in names], sorted(failures))
    metrics.zero_refusals({each.code for each in refusals})


def _refusals(kind: type[Refusal]) -> list[type[Refusal]]:
    found = [each for each in kind.__subclasses__() if hasattr(each, "code")]
    return found + [deeper for each in kind.__subclasses__() for deeper in _refusals(each)]


def endpoints(parts: ApiServices) -> Mapping[str, Endpoint]:
    """Return the endpoints of an instance's operations listener, by path."""
    zero_series()
    facts = DatabaseFacts(
        parts.queues.refresh,
        parts.ledger_check.refresh,
        parts.webhooks.refresh,
        parts.deliveries_due.refresh,
        parts.payments.refresh,
    )

    async def measure() -> MeasuredMetrics:
        primary = (parts.database.pool, parts.routing.reading.pool, parts.reports.database.pool)
        for pool in (*primary, *(each.pool for each in parts.routing.replicas)):
            pool.measure()
        metrics.ledger_waiting.set(parts.ledger.waiting())
        await facts.refresh()
        return MeasuredMetrics()

    async def report() -> Answer:
        return document(*await parts.health.report())

    async def ready() -> Answer:
        status = parts.health.ready()
        return document(status, {"status": _READINESS[status]})

    return {
        "/metrics": measure,
        "/health": report,
        "/health/live": alive,
        "/health/ready": ready,
    }
