"""Metric families: every metric that Florin's code defines, and the page that documents them.

`python -m tests.support.metric_families` writes the table of docs/operations/metrics.md.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from florin.kit.observability import database_metrics, metrics
from florin.ops.alerting import dispatcher  # its metrics are registered on import
from florin.ops.autoscaling.autoscaler import Autoscaler
from florin.ops.backups import status
from florin.ops.fleet.home import Home
from florin.ops.haproxy.metrics import merge_metrics
from florin.ops.metrics import definitions
from florin.ops.supervisor.watchdog import Watchdog

ALSO = (dispatcher.sent, dispatcher.firing)  # of the operator page's process
PAGE = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
_HELP = re.compile(r"^# HELP (\S+) (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Family:
    """One metric as it is exposed."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    source: str  # instance, worker, database or supervisor


def families() -> list[Family]:
    """Return all metrics, those of Python's own process library included."""
    return sorted(
        [
            *_of(metrics.registry, "process"),
            *_of(definitions.registry, "supervisor"),
            *_of_text(),
        ]
    )


def render_table() -> str:
    lines = ["| metric | type | labels | from | meaning |", "|---|---|---|---|---|"]
    for each in families():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.source} | {each.text} |")
    return "\n".join(lines) + "\n"


def page_with_table() -> str:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{render_table()}{END}{after}"


def _of(registry: CollectorRegistry, source: str) -> Iterator[Family]:
    database = {id(each) for each in vars(database_metrics).values()}
    for collector in cast("Any", registry)._collector_to_names:
        labels = getattr(collector, "_labelnames", getattr(collector, "_labels", ()))
        describe = getattr(collector, "describe", None) or collector.collect
        for metric in describe() or collector.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            if name == "python_info":
                labels = tuple(metric.samples[0].labels)
            of = "database" if id(collector) in database else source
            yield Family(name, metric.type, tuple(labels), metric.documentation, of)


def _of_text() -> Iterator[Family]:
    """Those that the supervisor writes as text."""
    scaling: Any = SimpleNamespace(wanted=1, errors=0, _limits=SimpleNamespace(most=2))
    with tempfile.TemporaryDirectory() as folder:
        backups = status.backup_metrics(Home(Path(folder)))
    texts = (Autoscaler.metrics(scaling), backups, Watchdog().metrics(), merge_metrics({"a": ""}))
    for text in texts:
        for name, meaning in _HELP.findall(text):
            [kind] = re.findall(rf"^# TYPE {name} (\w+)$", text, re.MULTILINE)
            [sample, *_] = re.findall(rf"^{name}(.*) \S+$", text, re.MULTILINE)
            labels = tuple(re.findall(r"(\w+)=", sample))
            yield Family(name, kind, labels, meaning, "supervisor")


if __name__ == "__main__":
    PAGE.write_text(page_with_table(), "utf-8")
