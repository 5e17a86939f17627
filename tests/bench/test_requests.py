"""Every benchmark from the command line, tiny: its document, its books, and no trace left."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from florin.bench.catalog import BENCHMARKS, COMPARED
from florin.ops.system import processes
from tests.bench.command import bench, start

_TINY = ("--seconds", "1", "--rounds", "1", "--connections", "4")


def measure(place: Path, name: str, *words: str, **environ: str) -> dict[str, Any]:
    """Run one; check what holds for all of them."""
    said = bench(place, name, *_TINY, *words, "--json", **environ)
    assert said.returncode == 0, said.stderr + said.stdout
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["object"] == "benchmark"
    assert found["name"] == name
    assert found["ok"]
    assert found["failures"] == 0
    assert found["count"] > 0
    assert found["rate"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert found["peak_rss_mb"] > 10
    parts = {"balancer"} if "--balancer" in words else set[str]()
    assert set(found["cpu"]) == parts | {"api", "postgres", "generator"}
    assert all(used["ms_per_request"] > 0 for used in found["cpu"].values())
    assert found["commit"]
    assert found["terms"]["seed"] == 1
    assert len(found["rounds"]) == 1
    assert found["books"]
    for books in found["books"]:
        assert books["balanced"]
        assert books["answered"] <= books["recorded"]
        assert books["recorded"] <= books["answered"] + books["in_flight_at_most"]
        assert books["pgbench_recorded"] == books["pgbench_answered"]
    assert list(place.iterdir()) == []
    return found


@pytest.mark.parametrize("name", COMPARED)
def test_beside_pgbench(place: Path, name: str) -> None:
    found = measure(place, name, "--against", "pgbench", "--cards", "50")
    assert found["ratio"] > 0
    assert isinstance(found["target"]["met"], bool)
    (round_,) = found["rounds"]
    assert len(round_["pgbench"]) == 2
    assert all(side["count"] > 0 and side["rate"] > 0 for side in round_["pgbench"])
    cards = {"hot-card": 1, "hot-cards": 10}.get(name, 50)
    (books,) = found["books"]
    assert books["cards"] == cards
    moved = name != "balance"
    assert (books["answered"] > 0) == moved
    assert (books["pgbench_answered"] > 0) == moved
    assert books["entries"] == cards + books["recorded"] + books["pgbench_recorded"]


def test_growth_has_two_shops_of_which_one_is_old(place: Path) -> None:
    found = measure(place, "growth", "--cards", "300")
    small, large = found["books"]
    assert (small["cards"], large["cards"]) == (150, 300)
    assert large["entries"] == 300 * 5 + large["recorded"]
    assert len(found["rounds"][0]["beside"]) == 2
    assert found["p99_growth"] > 0


def test_a_held_card_is_redeemed_when_it_is_free(place: Path) -> None:
    found = measure(place, "held-card", "--cards", "20", "--instances", "2")
    assert found["terms"]["instances"] == 2
    assert len(found["rounds"][0]["beside"]) == 2
    assert found["p99_growth"] > 0


def test_through_the_balancer(place: Path) -> None:
    words = ("--against", "pgbench", "--balancer", "--instances", "2", "--cards", "20")
    found = measure(place, "redeem", *words)
    assert found["terms"]["balancer"]
    assert found["target"]["bound"] == 0.8
    assert found["cpu"]["balancer"]["percent"] > 0


def test_memory(place: Path) -> None:
    found = measure(place, "memory", "--cards", "20")
    assert found["target"]["what"] == "peak_rss_mb"
    assert found["ratio"] is None


@pytest.mark.parametrize("name", ["redeem", "batch", "balance"])
def test_without_wrk_it_has_a_generator(place: Path, name: str) -> None:
    found = measure(place, name, "--cards", "20", PATH=str(place))
    assert found["machine"]["generator"] == "florin"


def test_own_reads_are_never_stale_and_money_asks_no_replica(place: Path) -> None:
    said = bench(place, "replicas", "--requests", "400", "--connections", "8", "--json")
    assert said.returncode == 0, said.stderr + said.stdout
    found = json.loads(said.stdout)
    assert found["reads"] >= 400
    assert found["writes"] > 0
    assert found["pauses"] > 0
    assert found["stale"] == found["failures"] == []
    assert 0 < found["share"] <= 1
    primary = found["servers"].pop(found["primary"])
    assert primary["decisions"] > 0
    assert len(found["servers"]) == 2
    assert all(each["reads"] > 0 for each in found["servers"].values())
    assert all(each["decisions"] == 0 for each in found["servers"].values())
    assert list(place.iterdir()) == []


def test_the_table_names_what_was_found(place: Path) -> None:
    said = bench(place, "redeem", *_TINY, "--cards", "20")
    assert said.returncode == 0, said.stderr
    for word in ("rate", "p50", "p99", "failures", "CPU", "memory", "target", "Books balanced"):
        assert word in said.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nothing",), "There is no benchmark nothing; there are redeem, "),
        (("memory", "--against", "pgbench"), "--against pgbench is for redeem, "),
        (("redeem", "--instances", "9"), "--instances is from 1 to 8"),
        (("redeem", "--against", "pgbench", "--connections", "900"), "at most 150 connections"),
        (("failover", "--only", "bored"), "no kind bored; there are: killed, frozen, cut off."),
    ],
)
def test_what_cannot_be_is_one_sentence(place: Path, words: tuple[str, ...], sentence: str) -> None:
    said = bench(place, *words)
    assert said.returncode == 1
    assert sentence in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert said.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_nothing(place: Path, number: signal.Signals) -> None:
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
    assert not any(processes.is_alive(found) for found in running)
    assert list(place.iterdir()) == []


def _until_serving(process: "subprocess.Popen[str]", place: Path) -> list[processes.ProcessId]:
    """The processes it started, once the last of them, an instance, has its pid written."""
    while process.poll() is None:
        numbers = [path.read_text("ascii").strip() for path in place.glob("*/run/*.pid")]
        found = [processes.find_process(int(number)) for number in numbers if number]
        running = [one for one in found if one is not None]
        if any(place.glob("*/run/api-1.pid")) and len(running) == 2:
            return running
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


def test_every_benchmark_is_run_here() -> None:
    assert set(BENCHMARKS) == {*COMPARED, "growth", "held-card", "memory"}
