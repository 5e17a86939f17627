"""Curves: the last hour of a few numbers, at equal distances, for the drawings of the page."""

import time
from collections import deque
from collections.abc import Mapping

from florin.ops.operator_page.document import Curves, OperatorState
from florin.ops.operator_page.readings import format_time

_EVERY_S = 30.0
_POINTS = 120  # an hour
DRAWN = 40


class CurveRecorder:
    """Keeps one value of each number every 30 seconds; the latest value counts."""

    def __init__(self) -> None:
        self._began = time.time()
        self._due = 0.0
        self._points: deque[dict[str, float]] = deque(maxlen=_POINTS)

    def add(self, state: OperatorState) -> None:
        now = time.monotonic()
        point = _numbers(state)
        if self._points and now < self._due:
            self._points[-1] = point
            return
        self._due = now + _EVERY_S
        self._points.append(point)

    @property
    def peak_s(self) -> float | None:
        rates = [point["requests_s"] for point in self._points if "requests_s" in point]
        return max(rates) if rates else None

    def curves(self, queues: list[str]) -> Curves:
        since = max(self._began, time.time() - _EVERY_S * _POINTS)
        return Curves(
            since=format_time(since),
            **{name: self._values(name) for name in _NAMES},
            waiting={queue: self._values(f"waiting {queue}") for queue in queues},
        )

    def _values(self, name: str) -> list[float]:
        values = [point.get(name, 0.0) for point in self._points]
        step = max(1, -(-len(values) // DRAWN))
        # The highest value of each group: a short peak must not vanish from the drawing.
        return [round(max(values[at : at + step]), 4) for at in range(0, len(values), step)]


_NAMES = ("requests_s", "error_share", "p50_s", "p99_s", "cpu", "workers", "wanted")


def _numbers(state: OperatorState) -> dict[str, float]:
    traffic = state.traffic
    numbers: Mapping[str, float | None] = {
        "requests_s": traffic.requests_s,
        "error_share": traffic.error_share,
        "p50_s": traffic.p50_s,
        "p99_s": traffic.p99_s,
        "cpu": traffic.cpu,
        "workers": state.workers.running,
        "wanted": state.workers.wanted,
        **{f"waiting {queue['name']}": queue["waiting"] for queue in state.queues},
    }
    return {name: value for name, value in numbers.items() if value is not None}
