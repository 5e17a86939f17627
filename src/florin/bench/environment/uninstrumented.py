"""Uninstrumented: an instance without its metrics, or without its access log, for comparison.

Run as `python -m florin.bench.environment.uninstrumented metrics | access-log`. Only a benchmark
can have such an instance: there is no setting for it.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def without_metrics() -> None:
    """Make counting, observing and setting do nothing. The series stay, at 0."""
    metrics: Any = import_module("prometheus_client.metrics")
    for kind, names in (
        (metrics.Counter, ("inc",)),
        (metrics.Gauge, ("inc", "dec", "set")),
        (metrics.Histogram, ("observe",)),
    ):
        for name in names:
            setattr(kind, name, _nothing)


def without_access_log() -> None:
    """Make the log line of a request do nothing."""
    logging: Any = import_module("florin.kit.observability.logging")
    logging.log_request = _nothing


def _nothing(*_words: Any, **_options: Any) -> None: ...


REMOVALS: dict[str, Callable[[], None]] = {
    "metrics": without_metrics,
    "access-log": without_access_log,
}


def main(what: str) -> int:
    """Serve as `florin api` does, without a part of its instrumentation."""
    REMOVALS[what]()
    code: int = import_module("florin.app").main()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
