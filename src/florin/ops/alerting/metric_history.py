"""Metric history: the samples of the last hours, with the increases of counters over a window.

Counters are corrected for restarts when they are added: a value below the one before begins at 0
again, as Prometheus does it. So the increase over a window is one subtraction.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.samples import Sample

_FINE_S = 600.0  # frames that are younger are all kept
_COARSE_S = 30.0  # the distance of older frames
_SPAN_S = 3_700.0
_SERIES_MOST = 50_000

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]


@dataclass(frozen=True, slots=True)
class _Frame:
    at: float
    counters: dict[Key, float]
    gauges: dict[Key, float]


@dataclass(slots=True)
class MetricHistory:
    """`counters` maps names of counters to the labels that are kept; values are summed over the
    others. All other names are gauges, kept with all labels.
    """

    counters: Mapping[str, tuple[str, ...]]
    _frames: deque[_Frame] = field(default_factory=deque["_Frame"])
    _raw: dict[Key, float] = field(default_factory=dict[Key, float])
    _total: dict[Key, float] = field(default_factory=dict[Key, float])

    def add(self, at: float, samples: Iterable[Sample]) -> None:
        """Add the samples of one collection; `at` in seconds, ascending."""
        gauges: dict[Key, float] = {}
        for sample in samples:
            labels = tuple(sorted(sample.labels.items()))
            key = (sample.name, labels)
            kept = self.counters.get(sample.name)
            if kept is None:
                gauges[key] = float(sample.value)
                continue
            total = (sample.name, tuple(pair for pair in labels if pair[0] in kept))
            before = self._raw.get(key)
            value = float(sample.value)
            self._raw[key] = value
            increase = 0.0 if before is None else value - before if value >= before else value
            self._total[total] = self._total.get(total, 0.0) + increase
        self._frames.append(_Frame(at, dict(self._total), gauges))
        self._forget(at)

    @property
    def frames(self) -> int:
        """How many collections are kept."""
        return len(self._frames)

    @property
    def span_s(self) -> float:
        return self._frames[-1].at - self._frames[0].at if self._frames else 0.0

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the last values of a gauge whose labels include these."""
        return list(self.labelled(name, **labels).values())

    def labelled(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the last values of a gauge by their labels."""
        return _matching(self._frames[-1].gauges if self._frames else {}, name, labels)

    def increases(self, name: str, within_s: float, **labels: str) -> dict[Labels, float]:
        """Return the increases of a counter over the window, or since the first collection."""
        if not self._frames:
            return {}
        now = self._frames[-1]
        # The newest frame at or before the window's start; rounding must not miss it.
        start = now.at - within_s + 0.001
        old = next((each for each in reversed(self._frames) if each.at <= start), self._frames[0])
        totals = _matching(now.counters, name, labels)
        return {key: value - old.counters.get((name, key), 0.0) for key, value in totals.items()}

    def increase(self, name: str, within_s: float, **labels: str) -> float:
        return sum(self.increases(name, within_s, **labels).values())

    def rate(self, name: str, within_s: float, **labels: str) -> float:
        """Return the increase per second."""
        seconds = min(within_s, self.span_s)
        return self.increase(name, within_s, **labels) / seconds if seconds > 0 else 0.0

    def _forget(self, now: float) -> None:
        while self._frames and self._frames[0].at < now - _SPAN_S:
            self._frames.popleft()
        kept: deque[_Frame] = deque()
        for frame in self._frames:
            if kept and frame.at < now - _FINE_S and frame.at - kept[-1].at < _COARSE_S:
                continue
            kept.append(frame)
        self._frames = kept
        if len(self._raw) > _SERIES_MOST:  # of instances that were replaced long ago
            self._raw.clear()


def _matching(
    values: Mapping[Key, float], name: str, labels: Mapping[str, str]
) -> dict[Labels, float]:
    wanted = set(labels.items())
    return {
        key: value
        for (metric, key), value in values.items()
        if metric == name and wanted <= set(key)
    }


def quantile(rank: float, buckets: Mapping[float, float]) -> float | None:
    """Return the quantile of a histogram by linear interpolation, as Prometheus does it.

    `buckets` maps upper bounds to cumulative counts; None without observations.
    """
    ordered = sorted(buckets.items())
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return None
    target, lower, below = rank * total, 0.0, 0.0
    for bound, count in ordered:
        if count >= target:
            if bound == float("inf"):
                return lower
            share = (target - below) / (count - below) if count > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, count
    return lower
