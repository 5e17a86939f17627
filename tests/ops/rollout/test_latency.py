"""Latency: when the slowest requests of new instances count against them."""

from collections import Counter
from math import inf

import httpx
import pytest

from florin.ops.rollout.latency import LatencyWindows, quantile_s
from florin.ops.rollout.soak import RequestCounts, parse_counts, read_counts
from tests.support.instance import Instance

_BOUNDS = (0.005, 0.05, 0.25, 0.5, 1.0, 2.5, inf)


def took(*seconds: float) -> RequestCounts:
    """Return the counts of requests that took so long."""
    within = {bound: sum(each <= bound for each in seconds) for bound in _BOUNDS}
    return RequestCounts(
        requests=Counter({"GET /x": len(seconds)}), within=Counter(within), seconds=sum(seconds)
    )


QUICK, SLOW = (0.004,) * 200, (0.004,) * 190 + (2.0,) * 10
OLD = took(*(0.02,) * 1000)


def verdicts(*windows: tuple[float, ...], old: RequestCounts = OLD) -> list[str | None]:
    judge, total, found = LatencyWindows(took(), old), took(), list[str | None]()
    for window in windows:
        total += took(*window)
        found.append(judge.add(total, old))
    return found


def test_two_slow_windows_after_the_first_are_a_fault() -> None:
    assert verdicts(QUICK, SLOW)[-1] is None
    found = verdicts(QUICK, SLOW, SLOW)
    assert found[:2] == [None, None]
    assert "the slowest hundredth" in str(found[2])


@pytest.mark.parametrize(
    "windows",
    [
        (SLOW, SLOW),  # the first is cold
        (SLOW, SLOW, QUICK, SLOW),  # not in a row
        (QUICK, SLOW[100:], SLOW[100:]),  # enough requests for one window together
        (QUICK,) * 5,
        ((0.45,) * 200,) * 4,  # many times slower, yet below half a second
    ],
)
def test_all_else_is_none(windows: tuple[tuple[float, ...], ...]) -> None:
    assert verdicts(*windows) == [None] * len(windows)


def test_a_fleet_that_was_as_slow_before_is_no_fault_of_the_release() -> None:
    old = took(*(0.9,) * 1000)
    assert verdicts(QUICK, SLOW, SLOW, SLOW, old=old) == [None] * 4


def test_old_instances_of_the_same_window_count_first() -> None:
    """They were quick before and are slow now: something that all share is slow."""
    judge, new, old = LatencyWindows(took(), OLD), took(), OLD
    for _ in range(4):
        new, old = new + took(*SLOW), old + took(*SLOW)
        assert judge.add(new, old) is None


@pytest.mark.parametrize(
    ("seconds", "p99"),
    [((), 0.0), ((0.004,) * 100, 0.00495), ((0.3,) * 100, 0.4975), ((9.0,) * 10, 2.5)],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    seconds: tuple[float, ...], p99: float
) -> None:
    assert quantile_s(took(*seconds).within) == pytest.approx(p99)


def test_the_metrics_of_an_instance_are_read_without_health_checks_and_streams() -> None:
    text = """
florin_http_request_seconds_bucket{le="0.005",method="GET",route="/api/v1/cards"} 3.0
florin_http_request_seconds_bucket{le="+Inf",method="GET",route="/api/v1/cards"} 4.0
florin_http_request_seconds_bucket{le="+Inf",method="GET",route="/api/v1/events/stream"} 7.0
florin_http_request_seconds_bucket{le="+Inf",method="GET",route="/health/ready"} 9.0
"""
    assert parse_counts(text).within == {0.005: 3, inf: 4}


async def test_what_a_real_instance_measures_is_read(
    api: Instance, http: httpx.AsyncClient
) -> None:
    assert (await http.get("/cards")).status_code == 200
    counts = await read_counts([api.operations.removeprefix("http://")])
    assert counts.within[inf] >= 1
    assert quantile_s(counts.within) > 0
