"""Call traces: the span of a call of the ledger, linked to the traced requests that it serves."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from florin.kit.observability import tracing
from florin.kit.observability.context import TraceContext

_UNTRACED = nullcontext()  # most requests: a generator would cost them a microsecond


class CallTraces:
    """The traces of the items that wait or are in a call."""

    def __init__(self) -> None:
        self._traces: dict[int, TraceContext] = {}  # by the identity of the item

    def during(self, items: Sequence[object]) -> AbstractContextManager[None]:
        """Link the calls in which these items are to the trace of the current task."""
        trace = tracing.sampled_trace()
        return _UNTRACED if trace is None else self._linked(items, trace)

    def step(self, items: Sequence[object]) -> AbstractContextManager[None]:
        """Trace a call with these items."""
        if not self._traces:
            return _UNTRACED
        traces = [self._traces[id(item)] for item in items if id(item) in self._traces]
        causes = {trace.span_id: trace for trace in traces}
        attributes = {"florin.items": len(items)}
        return tracing.traced_step("ledger call", list(causes.values()), attributes)

    @contextmanager
    def _linked(self, items: Sequence[object], trace: TraceContext) -> Generator[None]:
        names = [id(item) for item in items]  # unique as long as the caller has the items
        self._traces |= dict.fromkeys(names, trace)
        try:
            yield
        finally:
            for name in names:
                self._traces.pop(name, None)
