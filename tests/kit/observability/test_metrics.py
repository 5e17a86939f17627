"""Metrics: named by Prometheus' conventions, complete from the start, bounded, and documented."""

import asyncio
import re
import subprocess
import time
import warnings
from importlib import import_module
from typing import Any

import httpx
import pytest

from florin.kit.observability import metrics, process_metrics
from florin.kit.observability.process_metrics import memory_limit_bytes, sample_event_loop_lag
from tests.support import metric_families
from tests.support.instance import NO_TLS, Instance
from tests.support.monitoring import program

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, on import
    operations_api: Any = import_module("florin.operations_api")
BASE, NEEDS = operations_api.BASE, operations_api.NEEDS
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


async def scrape(api: Instance) -> str:
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        return (await http.get(f"{api.operations}/metrics")).text


def value(text: str, name: str, **labels: str) -> float:
    """The value of the one series with these labels."""
    wanted = {f'{key}="{each}"' for key, each in labels.items()}
    found = [
        float(number)
        for metric, given, number in _SAMPLE.findall(text)
        if metric == name and wanted <= set(re.findall(r'\w+="[^"]*"', given))
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def check_metrics(text: str) -> subprocess.CompletedProcess[str]:
    argv = [program("promtool"), "check", "metrics"]
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)


async def test_promtool_finds_nothing_to_correct(api: Instance) -> None:
    text = await scrape(api)
    done = await asyncio.to_thread(check_metrics, text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(text) > 10_000


async def test_every_route_has_its_failures_at_zero_before_the_first_request(api: Instance) -> None:
    text = await scrape(api)
    for name in NEEDS:
        method, path = name.split(" ", 1)
        labels = {"method": method, "route": BASE + path}
        for status in ("500", "503"):
            assert value(text, "florin_http_requests_total", status=status, **labels) == 0
        assert (
            f'florin_http_request_seconds_count{{method="{method}",route="{BASE}{path}"}}' in text
        )
    for code in ("overloaded", "outcome_unknown", "card_not_found", "rate_limited"):
        assert value(text, "florin_refusals_total", code=code) == 0
    assert value(text, "florin_limited_total", kind="code") == 0


async def test_a_request_counts_once_under_its_template(http: Any, api: Instance) -> None:
    labels = {"method": "GET", "route": f"{BASE}/cards/{{card}}", "status": "404"}
    for _ in range(3):
        assert (await http.get("/cards/crd_0123456789abcdef0123456789abcdef")).status_code == 404
    assert value(await scrape(api), "florin_http_requests_total", **labels) == 3


async def test_unknown_methods_and_paths_make_no_series_of_their_own(api: Instance) -> None:
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        for method in ("PROPFIND", "MKCOL", "LOCK", "SEARCH", "REPORT"):
            await http.request(method, f"{api.base}/teapot/{method}")
    text = await scrape(api)
    assert "PROPFIND" not in text
    assert "teapot" not in text
    assert (
        value(text, "florin_http_requests_total", method="other", route="other", status="404") >= 5
    )


async def test_the_database_is_measured(api: Instance) -> None:
    await scrape(api)
    await asyncio.sleep(1.1)  # it is read once a second
    text = await scrape(api)
    assert value(text, "florin_database_connections") > 1
    assert value(text, "florin_database_connections_limit") > 10
    assert value(text, "florin_database_size_bytes") > 1_000_000
    assert value(text, "florin_database_lock_waiters") >= 0
    assert value(text, "florin_database_idle_transaction_seconds") >= 0
    assert 0 < value(text, "florin_database_transaction_id_age") < 2e9
    assert value(text, "florin_dependency_up", dependency="database") == 1


async def test_a_scrape_does_not_wait_for_a_database_that_is_stuck() -> None:
    started = asyncio.Event()

    async def never() -> None:
        started.set()
        await asyncio.sleep(3600)

    facts = operations_api.DatabaseFacts(never)
    began = time.monotonic()
    await facts.refresh()
    await facts.refresh()  # the first reading still runs: no second one begins
    assert started.is_set()
    assert time.monotonic() - began < 2


async def test_a_blocked_event_loop_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_metrics, "SAMPLE_EVERY_S", 0.05)
    late = "florin_event_loop_lag_seconds_bucket"

    def above(limit: str) -> float:
        buckets = {
            each.labels["le"]: each.value
            for family in metrics.event_loop_lag.collect()
            for each in family.samples
            if each.name == late
        }
        return buckets["+Inf"] - buckets[limit]

    before = above("0.25")
    sampling = asyncio.ensure_future(sample_event_loop_lag())
    await asyncio.sleep(0.01)
    time.sleep(0.4)  # noqa: ASYNC251 -- it blocks the loop on purpose
    await asyncio.sleep(0.1)
    sampling.cancel()
    assert above("0.25") == before + 1


def test_the_limit_of_memory_is_that_of_the_machine_or_lower() -> None:
    assert 2**26 < memory_limit_bytes() < 2**50


def test_the_page_lists_every_metric() -> None:
    page = metric_families.PAGE.read_text("utf-8")
    assert page == metric_families.page_with_table(), "python -m tests.support.metric_families"
    names = [each.name for each in metric_families.families()]
    assert len(names) == len(set(names)) > 90
    assert all(each.text for each in metric_families.families())
