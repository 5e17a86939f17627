"""Metric history: increases over windows, restarts of processes, quantiles, memory."""

from prometheus_client.samples import Sample

from florin.ops.alerting.metric_history import MetricHistory, quantile
from florin.ops.alerting.samples import read_samples


def history() -> MetricHistory:
    return MetricHistory({"c_total": ("a",)})


def count(value: float, a: str = "x", b: str = "y") -> Sample:
    return Sample("c_total", {"a": a, "b": b}, value)


def test_an_increase_is_that_of_the_window() -> None:
    kept = history()
    for step in range(10):
        kept.add(step * 10.0, [count(step * 5.0)])
    assert kept.increase("c_total", 30) == 15
    assert kept.increase("c_total", 1e6) == 45
    assert kept.rate("c_total", 30) == 0.5


def test_the_first_sample_of_a_series_is_no_increase() -> None:
    kept = history()
    kept.add(0, [count(100)])
    kept.add(10, [count(100), count(7, b="new")])
    kept.add(20, [count(100), count(9, b="new")])
    assert kept.increase("c_total", 60) == 2


def test_a_process_that_restarts_counts_from_zero() -> None:
    kept = history()
    for at, value in ((0, 100), (10, 110), (20, 4), (30, 6)):
        kept.add(at, [count(value)])
    assert kept.increase("c_total", 60) == 16


def test_labels_that_are_not_kept_are_added_up() -> None:
    kept = history()
    kept.add(0, [count(0, b="1"), count(0, b="2"), count(0, a="z")])
    kept.add(10, [count(1, b="1"), count(2, b="2"), count(5, a="z")])
    assert kept.increases("c_total", 60) == {(("a", "x"),): 3, (("a", "z"),): 5}
    assert kept.increase("c_total", 60, a="z") == 5


def test_a_gauge_that_is_gone_has_no_value() -> None:
    kept = history()
    kept.add(0, [Sample("g", {"a": "x"}, 1.0)])
    assert kept.values("g", a="x") == [1.0]
    kept.add(10, [])
    assert kept.values("g") == []


def test_an_hour_is_kept_in_few_frames() -> None:
    kept = history()
    for step in range(1500):
        kept.add(step * 3.0, [count(step)])
    assert kept.frames < 350
    assert abs(kept.increase("c_total", 3600) - 1200) <= 10
    assert kept.increase("c_total", 300) == 100


def test_a_quantile_is_interpolated_as_prometheus_does_it() -> None:
    inf = float("inf")
    assert quantile(0.5, {0.1: 0, 0.2: 100, inf: 100}) == 0.15000000000000002
    assert quantile(0.99, {0.1: 50, 0.2: 50, inf: 100}) == 0.2
    assert quantile(0.5, {0.1: 0, inf: 0}) is None
    assert quantile(0.5, {}) is None


def test_only_the_named_metrics_are_read() -> None:
    text = (
        "# HELP a_total Text with florin_b in it.\n# TYPE a_total counter\n"
        'a_total{x="1{2"} 5\na_totally{x="1"} 6\nb 7 1700000000000\n\n'
    )
    found = read_samples(text, {"a_total", "b"})
    assert [(each.name, each.labels, each.value) for each in found] == [
        ("a_total", {"x": "1{2"}, 5.0),
        ("b", {}, 7.0),
    ]
