"""Tracing: which requests and jobs are traced, and their spans.

The decision comes first and is cheap: the caller's if it sent a valid `traceparent`, else a draw.
Only what is sampled enters OpenTelemetry's SDK (`trace_export.py`), which costs about 16 µs even
for a request that it drops. Without an exporter nothing is sampled; the trace of a caller is still
passed on to logs and jobs. `tracestate` is not: its content is the caller's and unchecked.

Span names and attributes are constants, ids and numbers: no paths, no values of a request.
"""

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

from florin.kit.observability.context import TraceContext, current_work, parse_traceparent

SpanKind = Literal["server", "internal", "consumer"]
Attributes = Mapping[str, str | int | float]


class SpanExport(Protocol):
    """What exports spans: `trace_export.OtlpExport`."""

    def start_span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext] = (),
        attributes: Attributes | None = None,
    ) -> TraceContext: ...

    def end_span(
        self, trace: TraceContext, attributes: Attributes, error: str | None = None
    ) -> None: ...

    def shut_down(self) -> None: ...


class _Sampling:
    """The exporter, and what is sampled for it."""

    export: SpanExport | None = None
    ratio: float = 0.0
    follows_caller: bool = True


def use_export(export: SpanExport, *, ratio: float, follows_caller: bool) -> None:
    """Sample from now on. `ratio`: the part of all requests and jobs without a traced cause;
    without `follows_caller`, also of those with one.
    """
    _Sampling.export, _Sampling.ratio = export, ratio
    _Sampling.follows_caller = follows_caller


def shut_down() -> None:
    """Export what waits, for a moment at most, and sample no more."""
    if _Sampling.export is not None:
        _Sampling.export.shut_down()
        _Sampling.export = None


def begin_trace(traceparent: str | None, name: str, kind: SpanKind) -> TraceContext | None:
    """Begin a request or job; return its trace, None if it has none. `end_trace` ends it."""
    parent = parse_traceparent(traceparent) if traceparent is not None else None
    return begin_caused(parent, name, kind)


def begin_caused(parent: TraceContext | None, name: str, kind: SpanKind) -> TraceContext | None:
    """Begin what was caused by `parent`, as `begin_trace` does."""
    export = _Sampling.export
    if export is None:
        return parent
    if parent is not None and _Sampling.follows_caller:
        sampled = parent.sampled
    else:
        sampled = random.random() < _Sampling.ratio  # noqa: S311 -- no secret
    if not sampled:
        return parent
    return export.start_span(name, kind, parent=parent)


def end_trace(trace: TraceContext, attributes: Attributes, error: str | None = None) -> None:
    """End the span of a request or job; `error` is a constant text, such as a type's name."""
    if trace.span is not None and _Sampling.export is not None:
        _Sampling.export.end_span(trace, attributes, error)


@contextmanager
def traced_step(
    name: str, causes: Sequence[TraceContext], attributes: Attributes
) -> Generator[None]:
    """Trace a step that several traced requests share: a child of the first, linked to all."""
    export = _Sampling.export
    if export is None or not causes:
        yield
        return
    step = export.start_span(name, "internal", parent=causes[0], links=causes)
    error = None
    try:
        yield
    except BaseException as failure:
        error = type(failure).__name__
        raise
    finally:
        export.end_span(step, attributes, error)


def sampled_trace() -> TraceContext | None:
    """Return the trace of the current task if it is sampled in this process."""
    trace = current_work().trace
    return trace if trace is not None and trace.span is not None else None
