"""Request records: the ids of a request, and what is recorded of it: metrics, log line, span."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Histogram

from florin.kit import ids
from florin.kit.observability import logging, metrics, redaction, tracing
from florin.kit.observability.context import TraceContext

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_OWN_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # as labels
_SERVER_ERROR = 500


def read_ids(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str | None]:
    """Return the request id, the caller's if it is valid, and the caller's `traceparent`."""
    request_id = traceparent = None
    for key, value in headers:
        if key == b"x-request-id" and request_id is None and _REQUEST_ID.fullmatch(value):
            given = value.decode()
            # The log contains the request id.
            request_id = None if redaction.looks_secret(given) else given
        elif key == b"traceparent":
            # Given twice it is not valid.
            traceparent = value.decode("latin-1") if traceparent is None else ""
    return request_id or f"req_{ids.new_id().hex}", traceparent


class RequestRecorder:
    """Records answered requests of an instance."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def record(
        self,
        scope: Mapping[str, Any],
        status: int,
        seconds: float,
        route: str,
        trace: TraceContext | None,
    ) -> None:
        """Record a request; `seconds` until its answer began, `route`: the template of its path."""
        labels = (scope["method"] if scope["method"] in _METHODS else "other", route, status)
        counted = self._counted.get(labels)
        if counted is None:
            counted = self._counted[labels] = (
                metrics.requests.labels(*labels),
                metrics.request_seconds.labels(*labels[:2]),
            )
        counted[0].inc()
        # An exemplar only of a trace that someone can look at.
        sampled = trace if trace is not None and trace.span is not None else None
        counted[1].observe(seconds, {"trace_id": sampled.trace_id} if sampled else None)
        event: dict[str, Any] = {
            "request_id": scope["request_id"],
            "method": labels[0],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "actor": scope.get("actor"),
        }
        if trace is not None:
            event |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
            _end_trace(trace, event)
        logging.log_request(self._instance, event)


def _end_trace(trace: TraceContext, event: Mapping[str, Any]) -> None:
    if trace.span is None:
        return
    status: int = event["status"]
    attributes = {
        "http.request.method": event["method"],
        "http.route": event["route"],
        "http.response.status_code": status,
    }
    if _OWN_REQUEST_ID.fullmatch(event["request_id"]):  # a caller's own id may be any text
        attributes["florin.request_id"] = event["request_id"]
    trace.span.update_name(f"{event['method']} {event['route']}")
    tracing.end_trace(trace, attributes, f"{status}" if status >= _SERVER_ERROR else None)
