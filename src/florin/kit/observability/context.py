"""Context: the request or job that the current task works for, for logs, traces and reports."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

# https://www.w3.org/TR/trace-context/#traceparent-header: ids of zeros only and version ff are
# invalid; a later version may have more fields at the end.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = 0x01


class TraceContext:
    """The trace that a request or job belongs to. `span` is the SDK's; None if not sampled here."""

    __slots__ = ("sampled", "span", "span_id", "trace_id")

    def __init__(
        self, trace_id: str, span_id: str, *, sampled: bool, span: Any | None = None
    ) -> None:
        self.trace_id = trace_id  # 32 hexadecimal digits
        self.span_id = span_id  # 16 hexadecimal digits
        self.sampled = sampled
        self.span = span

    @property
    def traceparent(self) -> str:
        """The W3C header for what is caused by this trace."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True, slots=True)
class WorkContext:
    """The ids that belong in the log lines of the current task."""

    request_id: str | None
    trace: TraceContext | None = None

    def log_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.request_id is not None:
            fields["request_id"] = self.request_id
        if self.trace is not None:
            fields["trace_id"] = self.trace.trace_id
            fields["span_id"] = self.trace.span_id
        return fields

    def to_text(self) -> str | None:
        """Return the ids as one text, for a job that is caused."""
        traceparent = self.trace.traceparent if self.trace is not None else None
        return " ".join(each for each in (traceparent, self.request_id) if each) or None


_NONE = WorkContext(None)
_current: ContextVar[WorkContext] = ContextVar("work", default=_NONE)


def bind_work(request_id: str | None, trace: TraceContext | None = None) -> None:
    """Set what the current task works for from here on."""
    _current.set(WorkContext(request_id, trace))


def current_work() -> WorkContext:
    return _current.get()


def parse_traceparent(text: str) -> TraceContext | None:
    """Return the caller's trace; None if the header is not valid."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceContext(match[2], match[3], sampled=bool(int(match[4], 16) & _SAMPLED))


def parse_cause(text: str | None) -> WorkContext:
    """Return the ids of `WorkContext.to_text`, as they are stored with a job."""
    request_id, trace = None, None
    for word in (text or "").split():
        found = parse_traceparent(word)
        if found is not None:
            trace = found
        else:
            request_id = word
    return WorkContext(request_id, trace)
