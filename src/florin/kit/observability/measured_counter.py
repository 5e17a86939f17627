"""Measured counter: a counter that another program or the database keeps."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class MeasuredCounter(Collector):
    """Set to the values that were read, by the values of the labels; never incremented."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], *, registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(list(labels), value)
        return [family]

    def set_all(self, values: Mapping[tuple[str, ...], float]) -> None:
        self._values = dict(values)
