"""Worker benchmarks from the command line, small: nothing lost or doubled, all cleaned up."""

import json
from pathlib import Path
from typing import Any

import pytest

from florin.bench.workers import report
from florin.bench.workers.catalog import BENCHMARKS, WorkerBenchConfig
from florin.bench.workers.job_counter import Count
from florin.bench.workers.result import WorkerBenchResult
from tests.bench.command import bench

TINY = {
    "queue": ("--jobs", "300"),
    "expiry": ("--cards", "2500"),
    "bulk": ("--cards", "2500"),
    "deliveries": ("--cards", "300"),
    "webhooks": ("--cards", "500"),
    "checkout": ("--cards", "300", "--connections", "4"),
    "beside": ("--cards", "60000", "--seconds", "1", "--connections", "4", "--rate", "50"),
}
SHORT = {"bulk", "queue"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=pytest.mark.long_form("benchmarks")) if each not in SHORT else each
        for each in BENCHMARKS
    ],
)
def test_worker_benchmark_reports_its_figures(place: Path, name: str) -> None:
    output = bench(place, name, *TINY[name], "--rounds", "1", "--json")
    assert output.returncode == 0, output.stderr + output.stdout
    document: dict[str, Any] = json.loads(output.stdout)
    assert (document["object"], document["name"], document["ok"], document["wrong"]) == (
        *("benchmark", name, True),
        [],
    )
    (only,) = document["rounds"]
    assert only
    # The CPU clock has ticks of 10 ms: so little work may take less than one tick.
    assert all(figure > 0 or what.endswith("_ms") for what, figure in only.items()), only
    assert [target["what"] for target in document["targets"]] == [
        target.what for target in BENCHMARKS[name].targets
    ]
    assert all(isinstance(target["met"], bool) for target in document["targets"])
    for share, one, other in BENCHMARKS[name].shares:
        assert document[share] == pytest.approx(document[one] / document[other], abs=0.001)
    assert document["commit"]
    assert document["terms"]["seed"] == 1
    assert list(place.iterdir()) == []


def test_a_job_that_ran_twice_is_counted_twice(capsys: pytest.CaptureFixture[str]) -> None:
    count = Count(2)
    for _ in range(3):
        count()
    count.close()
    output = [
        json.loads(line.removeprefix("FLORIN "))
        for line in capsys.readouterr().err.split("\n")
        if line
    ]
    assert [one["all_ran"] for one in output] == [True, True]
    assert output[-1]["count"] == 3
    assert output[0]["began"] is not None


def test_figures_are_medians_and_peaks_are_maxima() -> None:
    terms = WorkerBenchConfig(
        name="bulk", jobs=1, cards=10, rounds=3, seconds=1, rate=1, connections=1, seed=1
    )
    rounds = [
        {"rate": rate, "copy_rate": 10.0, "peak_rss_mb": peak}
        for rate, peak in ((1.0, 5.0), (9.0, 7.0), (3.0, 6.0))
    ]
    document = WorkerBenchResult(
        terms=terms, rounds=rounds, wrong=["one"], postgres="18", commit="abc"
    )
    document = document.document()
    assert (document["rate"], document["ratio"], document["peak_rss_mb"]) == (3.0, 0.3, 7.0)
    assert [target["met"] for target in document["targets"]] == [False, True, True]
    assert not document["ok"]
    table = report.text(document)
    for word in ("3/s", "COPY", "7 MB", "ratio at least 0.2: met", "WRONG: one.", "commit abc"):
        assert word in table
