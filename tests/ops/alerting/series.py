"""Series: metrics over time in promtool's notation, for Florin's conditions and for Prometheus."""

import re
from dataclasses import dataclass

from prometheus_client.samples import Sample

from florin.ops.alerting.fleet_metrics import FleetMetrics

EVERY_S = 15.0
_NAME = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_STEPS = re.compile(r"(-?[\d.]+)(?:([+-][\d.]+))?(?:x(\d+))?")


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One series: `0+10x40` is 0, 10, 20 … (41 values), `_x3` three gaps."""

    name: str
    labels: dict[str, str]
    values: list[float | None]


def read_series(text: str, values: str) -> MetricSeries:
    found = _NAME.fullmatch(text)
    assert found is not None, text
    return MetricSeries(found[1], dict(_LABEL.findall(found[2] or "")), expand_values(values))


def expand_values(text: str) -> list[float | None]:
    """Return the values of promtool's notation."""
    expanded: list[float | None] = []
    for word in text.split():
        if word.startswith("_"):
            expanded += [None] * int(word[2:] or 1)
            continue
        found = _STEPS.fullmatch(word)
        assert found is not None, word
        first, step, times = float(found[1]), float(found[2] or 0), int(found[3] or 0)
        expanded += [first + step * n for n in range(times + 1)]
    return expanded


def add_step(metrics: FleetMetrics, series: list[MetricSeries], step: int) -> float:
    """Add one collection; return its time."""
    at = step * EVERY_S
    now = [
        (each.name, each.labels, each.values[step])
        for each in series
        if step < len(each.values) and each.values[step] is not None
    ]
    samples = [Sample(name, labels, float(value or 0)) for name, labels, value in now]
    metrics.add_balancer(at, [each for each in samples if each.name.startswith("haproxy_")])
    metrics.add_processes(at, [each for each in samples if each.name.startswith("florin_")])
    for job in {labels["job"] for name, labels, _ in now if name == "up"}:
        metrics.up[job] = [
            bool(value) for name, labels, value in now if name == "up" and labels["job"] == job
        ]
    return at
