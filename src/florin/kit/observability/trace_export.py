"""Trace export: sends spans with OpenTelemetry's SDK over OTLP/HTTP, where it is configured.

The SDK is imported only then. Spans wait in a bounded queue; those that do not fit are dropped and
counted. A collector that is slow or away costs neither time nor memory of requests.
"""

import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from florin.kit.observability import tracing
from florin.kit.observability.context import TraceContext
from florin.kit.observability.telemetry_metrics import trace_spans
from florin.kit.observability.tracing import Attributes, SpanKind
from florin.kit.settings import Settings

QUEUE_MAX = 2048  # spans
_BATCH_MAX = 512  # spans of one request to the collector
_EXPORT_EVERY_MS = 1000
_TIMEOUT_S = 10
_SHUT_DOWN_WITHIN_S = 2.0


def start_export(settings: Settings) -> None:
    """Sample and export traces if OTEL_EXPORTER_OTLP_ENDPOINT is set."""
    endpoint = settings.otlp_endpoint
    if endpoint is None:
        return
    headers = settings.otlp_headers
    tracing.use_export(
        OtlpExport(
            f"{endpoint}/v1/traces",
            headers={} if headers is None else parse_pairs(headers.get_secret_value()),
            resource={
                "service.name": settings.otel_service_name,
                "service.version": settings.release,
                "service.instance.id": settings.instance,
                "deployment.environment.name": settings.env,
                **parse_pairs(settings.otel_resource_attributes or ""),
            },
        ),
        ratio=settings.traces_ratio,
        follows_caller=settings.traces_sampler == "parentbased_traceidratio",
    )


def parse_pairs(text: str) -> dict[str, str]:
    """Parse OTEL_EXPORTER_OTLP_HEADERS or OTEL_RESOURCE_ATTRIBUTES: `name=value`, with commas
    between, values URL-encoded. Raises ValueError.
    """
    pairs: dict[str, str] = {}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError("must be name=value, with commas between several")
        pairs[name.strip()] = unquote(value.strip())
    return pairs


class OtlpExport:
    """A tracer of the SDK that records everything, since `tracing` has decided before."""

    def __init__(self, endpoint: str, *, headers: dict[str, str], resource: dict[str, str]) -> None:
        self._api: Any = import_module("opentelemetry.trace")
        sdk: Any = import_module("opentelemetry.sdk.trace")
        sampling: Any = import_module("opentelemetry.sdk.trace.sampling")
        resources: Any = import_module("opentelemetry.sdk.resources")
        otlp: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        self._provider = sdk.TracerProvider(
            sampler=sampling.ALWAYS_ON,
            resource=resources.Resource.create(resource),
            shutdown_on_exit=False,
        )
        exporter = otlp.OTLPSpanExporter(endpoint=endpoint, headers=headers, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(_bounded_queue(exporter))
        self._tracer = self._provider.get_tracer("florin")
        kinds = self._api.SpanKind
        self._kinds = {
            "server": kinds.SERVER,
            "internal": kinds.INTERNAL,
            "consumer": kinds.CONSUMER,
        }

    def start_span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext] = (),
        attributes: Attributes | None = None,
    ) -> TraceContext:
        context = None
        if parent is not None:
            remote = self._api.NonRecordingSpan(self._span_context(parent))
            context = self._api.set_span_in_context(remote)
        span = self._tracer.start_span(
            name,
            context=context,
            kind=self._kinds[kind],
            links=[self._api.Link(self._span_context(each)) for each in links],
            attributes=attributes,
        )
        made = span.get_span_context()
        return TraceContext(
            f"{made.trace_id:032x}", f"{made.span_id:016x}", sampled=True, span=span
        )

    def end_span(
        self, trace: TraceContext, attributes: Attributes, error: str | None = None
    ) -> None:
        span: Any = trace.span
        span.set_attributes(attributes)
        if error is not None:
            span.set_status(self._api.Status(self._api.StatusCode.ERROR))
            span.set_attribute("error.type", error)
        span.end()

    def shut_down(self) -> None:
        """Export what waits. A collector that does not answer delays the end only for a moment."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_SHUT_DOWN_WITHIN_S)

    def _span_context(self, trace: TraceContext) -> Any:
        return self._api.SpanContext(
            int(trace.trace_id, 16),
            int(trace.span_id, 16),
            is_remote=trace.span is None,
            trace_flags=self._api.TraceFlags(self._api.TraceFlags.SAMPLED),
        )


def _bounded_queue(exporter: Any) -> Any:
    """Return the SDK's batching processor with a limit that drops the newest spans and counts."""
    export: Any = import_module("opentelemetry.sdk.trace.export")
    succeeded = export.SpanExportResult.SUCCESS

    class CountingExporter:
        taken = 0  # spans that left the queue

        def export(self, spans: Sequence[Any]) -> Any:
            self.taken += len(spans)
            outcome = "failed"
            try:
                result = exporter.export(spans)
                outcome = "exported" if result is succeeded else "failed"
            finally:
                trace_spans.labels(outcome).inc(len(spans))
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return bool(exporter.force_flush(timeout_millis))

    counting = CountingExporter()
    batching = export.BatchSpanProcessor(
        counting,
        max_queue_size=QUEUE_MAX,
        schedule_delay_millis=_EXPORT_EVERY_MS,
        max_export_batch_size=_BATCH_MAX,
    )

    class BoundedQueue(import_module("opentelemetry.sdk.trace").SpanProcessor):
        added = 0

        def on_end(self, span: Any) -> None:
            # The SDK's own queue would drop the oldest span, uncounted.
            if self.added - counting.taken >= QUEUE_MAX:
                trace_spans.labels("dropped").inc()
                return
            self.added += 1
            batching.on_end(span)

        def shutdown(self) -> None:
            batching.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return bool(batching.force_flush(timeout_millis))

    return BoundedQueue()
