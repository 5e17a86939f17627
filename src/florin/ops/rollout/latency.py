"""Latency: whether the slowest requests of new instances are far slower than those of the old."""

from collections import Counter
from math import inf

from florin.ops.rollout.soak import RequestCounts

WINDOW_REQUESTS = 200
SLOWER_MAX, SLOW_S = 5.0, 0.5  # the p99 must exceed both: times the old one, and seconds
WINDOWS_SLOW = 2  # in a row; the first window of all is ignored: caches are cold
_SHARE = 0.99


def quantile_s(within: Counter[float], share: float = _SHARE) -> float:
    """Return a quantile in seconds from the cumulative counts of a histogram, by upper bound.

    Within a bucket requests are taken as evenly spread, as `histogram_quantile` of Prometheus does;
    above the last finite bound that bound is returned. 0.0 without requests.
    """
    bounds = sorted(within)
    if not bounds or within[bounds[-1]] <= 0:
        return 0.0
    rank = share * within[bounds[-1]]
    low, below = 0.0, 0
    for bound in bounds:
        if within[bound] >= rank:
            if bound == inf:
                return low
            return low + (bound - low) * (rank - below) / (within[bound] - below)
        low, below = bound, within[bound]
    return low


class LatencyWindows:
    """Windows of at least 200 requests to new instances, each compared with the old instances.

    Old instances that answer fewer in a window are judged by their requests before it: after a
    blue-green switch they get none.
    """

    def __init__(self, new: RequestCounts, old: RequestCounts) -> None:
        self._new, self._old, self._before = new, old, old
        self._closed = self._slow = 0

    def add(self, new: RequestCounts, old: RequestCounts) -> str | None:
        """Take the counts so far; return what is wrong once enough windows were slow."""
        window = new.since(self._new)
        if window.within[inf] < WINDOW_REQUESTS:
            return None
        others = old.since(self._old)
        if others.within[inf] < WINDOW_REQUESTS:
            others = self._before
        self._new, self._old = new, old
        self._closed += 1
        if self._closed == 1 or others.within[inf] < WINDOW_REQUESTS:
            return None
        mine, theirs = quantile_s(window.within), quantile_s(others.within)
        slow = mine > max(SLOW_S, SLOWER_MAX * theirs)
        self._slow = self._slow + 1 if slow else 0
        if self._slow < WINDOWS_SLOW:
            return None
        return (
            f"the slowest hundredth of requests takes more than {mine * 1000:.0f} ms; with the"
            f" release before it takes {theirs * 1000:.0f} ms"
        )
