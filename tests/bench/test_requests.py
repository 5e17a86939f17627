"""Each benchmark from the command line, small: its document, its ledger, its clean-up."""

import json
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from florin.bench.catalog import BENCHMARKS, COMPARED, INSTRUMENTATION
from florin.ops.system import processes
from tests.bench.command import bench, start

_TINY = ("--seconds", "1", "--rounds", "1", "--connections", "4")


def short_form(every: Iterable[object], only: object) -> list[object]:
    """Parameters of which the short form runs `only`."""
    assert only in every
    marks = pytest.mark.long_form("benchmarks")
    return [each if each == only else pytest.param(each, marks=marks) for each in every]


def measure(place: Path, name: str, *words: str, **environ: str) -> dict[str, Any]:
    """Run a benchmark; check what all of them have in common."""
    process = bench(place, name, *_TINY, *words, "--json", **environ)
    assert process.returncode == 0, process.stderr + process.stdout
    document: dict[str, Any] = json.loads(process.stdout)
    assert document["object"] == "benchmark"
    assert document["name"] == name
    assert document["ok"]
    assert document["failures"] == 0
    assert document["count"] > 0
    assert document["rate"] > 0
    assert 0 < document["p50_ms"] <= document["p99_ms"]
    assert document["peak_rss_mb"] > 10
    parts = {"balancer"} if "--balancer" in words else set[str]()
    assert set(document["cpu"]) == parts | {"api", "postgres", "generator"}
    assert all(used["ms_per_request"] > 0 for used in document["cpu"].values())
    assert document["commit"]
    assert document["terms"]["seed"] == 1
    assert len(document["rounds"]) == 1
    assert document["books"]
    for books in document["books"]:
        assert books["balanced"]
        assert books["answered"] <= books["recorded"]
        assert books["recorded"] <= books["answered"] + books["in_flight_at_most"]
        assert books["pgbench_recorded"] == books["pgbench_answered"]
    assert list(place.iterdir()) == []
    return document


@pytest.mark.slow
@pytest.mark.parametrize("name", short_form(COMPARED, "hot-card"))
def test_each_compared_benchmark_runs_against_pgbench(place: Path, name: str) -> None:
    document = measure(place, name, "--against", "pgbench", "--cards", "50")
    assert document["ratio"] > 0
    assert isinstance(document["target"]["met"], bool)
    (round_,) = document["rounds"]
    assert len(round_["pgbench"]) == 2
    assert all(side["count"] > 0 and side["rate"] > 0 for side in round_["pgbench"])
    cards = {"hot-card": 1, "hot-cards": 10}.get(name, 50)
    (books,) = document["books"]
    assert books["cards"] == cards
    moved = name != "balance"
    assert (books["answered"] > 0) == moved
    assert (books["pgbench_answered"] > 0) == moved
    assert books["entries"] == cards + books["recorded"] + books["pgbench_recorded"]


@pytest.mark.slow
@pytest.mark.parametrize("name", short_form(INSTRUMENTATION, "metrics"))
def test_instrumentation_is_compared_with_an_instance_without_it(place: Path, name: str) -> None:
    document = measure(place, name, "--cards", "50")
    assert document["api_cpu_growth"] > 0
    assert document["target"]["what"] == "api_cpu_growth"
    assert document["beside_rate"] > 0


@pytest.mark.long_form("benchmarks")
def test_growth_compares_a_new_dataset_with_an_aged_one(place: Path) -> None:
    document = measure(place, "growth", "--cards", "300")
    small, large = document["books"]
    assert (small["cards"], large["cards"]) == (150, 300)
    assert large["entries"] == 300 * 5 + large["recorded"]
    assert len(document["rounds"][0]["beside"]) == 2
    assert document["p99_growth"] > 0


@pytest.mark.long_form("benchmarks")
def test_a_locked_card_is_redeemed_after_its_lock_is_released(place: Path) -> None:
    document = measure(place, "held-card", "--cards", "20", "--instances", "2")
    assert document["terms"]["instances"] == 2
    assert len(document["rounds"][0]["beside"]) == 2
    assert document["p99_growth"] > 0


@pytest.mark.long_form("benchmarks")
def test_a_benchmark_runs_through_the_balancer(place: Path) -> None:
    words = ("--against", "pgbench", "--balancer", "--instances", "2", "--cards", "20")
    document = measure(place, "redeem", *words)
    assert document["terms"]["balancer"]
    assert document["target"]["bound"] == 0.8
    assert document["cpu"]["balancer"]["percent"] > 0


@pytest.mark.long_form("benchmarks")
def test_memory_is_measured(place: Path) -> None:
    document = measure(place, "memory", "--cards", "20")
    assert document["target"]["what"] == "peak_rss_mb"
    assert document["ratio"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", short_form(("redeem", "batch", "balance"), "batch"))
def test_without_wrk_the_python_client_generates_the_load(place: Path, name: str) -> None:
    document = measure(place, name, "--cards", "20", PATH=str(place))
    assert document["machine"]["generator"] == "florin"


@pytest.mark.long_form("benchmarks")
def test_own_reads_are_never_stale_and_money_reads_use_no_replica(place: Path) -> None:
    process = bench(place, "replicas", "--requests", "400", "--connections", "8", "--json")
    assert process.returncode == 0, process.stderr + process.stdout
    document = json.loads(process.stdout)
    assert document["reads"] >= 400
    assert document["writes"] > 0
    assert document["pauses"] > 0
    assert document["stale"] == document["failures"] == []
    assert 0 < document["share"] <= 1
    primary = document["servers"].pop(document["primary"])
    assert primary["decisions"] > 0
    assert len(document["servers"]) == 2
    assert all(each["reads"] > 0 for each in document["servers"].values())
    assert all(each["decisions"] == 0 for each in document["servers"].values())
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_the_report_names_every_figure(place: Path) -> None:
    process = bench(place, "redeem", *_TINY, "--cards", "20")
    assert process.returncode == 0, process.stderr
    for word in ("rate", "p50", "p99", "failures", "CPU", "memory", "target", "Ledger balanced"):
        assert word in process.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nothing",), "Unknown benchmark nothing; use one of redeem, "),
        (("memory", "--against", "pgbench"), "--against pgbench is for redeem, "),
        (("redeem", "--instances", "9"), "--instances must be from 1 to 8"),
        (("redeem", "--against", "pgbench", "--connections", "900"), "at most 150 connections"),
        (
            ("failover", "--only", "bored"),
            "Unknown kind bored; use one of: killed, frozen, cut off.",
        ),
    ],
)
def test_invalid_options_are_rejected_in_one_sentence(
    place: Path, words: tuple[str, ...], sentence: str
) -> None:
    process = bench(place, *words)
    assert process.returncode == 1
    assert sentence in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == ""


@pytest.mark.parametrize("number", short_form((signal.SIGINT, signal.SIGTERM), signal.SIGTERM))
def test_an_interrupted_benchmark_leaves_no_processes_or_files(
    place: Path, number: signal.Signals
) -> None:
    process = start(place, "redeem", "--seconds", "60", "--cards", "20")
    assert process.stderr is not None
    try:
        running = _until_serving(process, place)
        process.send_signal(number)
        process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130
    assert not any(processes.is_alive(document) for document in running)
    assert list(place.iterdir()) == []


def _until_serving(process: "subprocess.Popen[str]", place: Path) -> list[processes.ProcessId]:
    """Return the pids of the run's processes, once the last, an instance, has written its pid."""
    while process.poll() is None:
        numbers = [path.read_text("ascii").strip() for path in place.glob("*/run/*.pid")]
        document = [processes.find_process(int(number.split()[0])) for number in numbers if number]
        running = [one for one in document if one is not None]
        if any(place.glob("*/run/api-1.pid")) and len(running) == 2:
            return running
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


def test_every_benchmark_has_a_test_here() -> None:
    others = {"growth", "held-card", "memory", *INSTRUMENTATION}
    assert set(BENCHMARKS) == {*COMPARED, *others}
