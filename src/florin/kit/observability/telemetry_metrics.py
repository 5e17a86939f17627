"""Telemetry metrics: what happens to log lines, spans and error reports."""

from prometheus_client import Counter

from florin.kit.observability.metrics import registry

log_dropped = Counter(
    "florin_log_dropped_total",
    "Log lines that were not written: too many waited, or the write failed.",
    ["reason"],
    registry=registry,
)
trace_spans = Counter(
    "florin_trace_spans_total",
    "Spans of sampled traces: exported, dropped because too many waited, or failed to be exported.",
    ["outcome"],
    registry=registry,
)
error_reports = Counter(
    "florin_error_reports_total",
    "Unexpected errors: reported to Sentry, limited because there were too many in a minute, or"
    " refused because a text was not on the allow-list.",
    ["outcome"],
    registry=registry,
)
for _reason in ("full", "write"):
    log_dropped.labels(_reason)
for _outcome in ("exported", "dropped", "failed"):
    trace_spans.labels(_outcome)
for _outcome in ("reported", "limited", "refused"):
    error_reports.labels(_outcome)
