"""Soak: which differences count against new instances, and which do not."""

from collections import Counter
from typing import Any

import pytest

from florin.ops.rollout.soak import RequestCounts, parse_counts, soak_verdict

PAY, LIST = "POST /api/v1/redemptions", "GET /api/v1/cards"


def counts(requests: int = 0, errors: int = 0, route: str = PAY, **more: Any) -> RequestCounts:
    return RequestCounts(
        requests=Counter({route: requests}), errors=Counter({route: errors}), **more
    )


OLD = counts(1000, seconds=2)


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        (counts(100, seconds=0.2), OLD, None),
        (counts(), OLD, None),
        (counts(100, 5, seconds=0.2), OLD, "5 of 100 requests failed"),
        (counts(100, 5), counts(), "5 of 100 requests failed"),
        # Too few requests to judge.
        (counts(100, 4), OLD, None),
        (counts(19, 19), OLD, None),
        (counts(20, 20), OLD, "20 of 20 requests failed"),
        # Few failures of many requests.
        (counts(2000, 6), OLD, None),
        # The old instances fail as well: not a fault of the new ones.
        (counts(100, 10), counts(100, 5), None),
        (counts(100, 11), counts(100, 5), "11 of 100"),
        # The old ones fail as well, though rarely asked for that among much that succeeds.
        (
            counts(1000) + counts(30, 30, route=LIST),
            counts(1000) + counts(2, 2, route=LIST),
            None,
        ),
        # Another route fails in the old ones.
        (counts(100, 30), counts(100, 30, route=LIST), "30 of 100"),
        # The database is down: all instances turn requests away.
        (counts(100, busy=90), counts(100, busy=90), None),
        (counts(100, busy=90), counts(), None),
        (counts(100, busy=9), OLD, "9 of 100 requests were refused (503)"),
        (counts(100, seconds=40), OLD, "a request takes 400 ms"),
        # Ten times slower and still quick; or slow as the old ones are.
        (counts(100, seconds=20), OLD, None),
        (counts(100, seconds=40), counts(100, seconds=30), None),
        (counts(5, seconds=40), OLD, None),
    ],
)
def test_new_instances_are_compared_with_the_old(
    new: RequestCounts, old: RequestCounts, says: str | None
) -> None:
    said = soak_verdict(new, old, RequestCounts())
    assert (said is None) if says is None else (said is not None and says in said)


def test_figures_of_idle_old_instances_are_kept() -> None:
    """All requests moved to the new instances at once."""
    failing = counts(1000) + counts(30, 30, route=LIST)
    assert soak_verdict(failing, RequestCounts(), RequestCounts()) is not None
    assert soak_verdict(failing, RequestCounts(), counts(5000) + counts(3, 2, route=LIST)) is None


def test_metrics_are_added_up_without_probes() -> None:
    text = """\
# HELP florin_http_requests_total Requests answered.
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="201"} 7.0
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="500"} 2.0
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="503"} 1.0
florin_http_requests_total{method="GET",route="/health/ready",status="503"} 50.0
florin_http_request_seconds_sum{method="POST",route="/api/v1/redemptions"} 0.5
florin_http_request_seconds_sum{method="GET",route="/health/ready"} 9.0
"""
    assert parse_counts(text) == counts(10, 2, busy=1, seconds=0.5)
