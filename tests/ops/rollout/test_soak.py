"""Soak: what is held against new instances, and what is not."""

import pytest

from florin.ops.rollout.soak import Counts, read, verdict

OLD = Counts(requests=1000, errors=0, busy=0, seconds=2)


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        (Counts(requests=100, seconds=0.2), OLD, None),
        (Counts(), OLD, None),
        (Counts(requests=100, errors=1, seconds=0.2), OLD, "1 of 100 requests failed"),
        (Counts(requests=1, errors=1), Counts(), "1 of 1 requests failed"),
        # The old ones fail as well: not the new ones' fault.
        (Counts(requests=100, errors=5), Counts(requests=100, errors=5), None),
        (Counts(requests=100, errors=11), Counts(requests=100, errors=5), "11 of 100"),
        # The database is away: everybody turns requests away.
        (Counts(requests=100, busy=90), Counts(requests=100, busy=90), None),
        (Counts(requests=100, busy=90), Counts(), None),
        (Counts(requests=100, busy=9), OLD, "9 of 100 requests were turned away"),
        (Counts(requests=100, seconds=40), OLD, "a request takes 400 ms"),
        # Ten times slower and still quick; or slow as the old ones are.
        (Counts(requests=100, seconds=20), OLD, None),
        (Counts(requests=100, seconds=40), Counts(requests=100, seconds=30), None),
        (Counts(requests=5, seconds=40), OLD, None),
    ],
)
def test_new_instances_are_compared_with_the_old(
    new: Counts, old: Counts, says: str | None
) -> None:
    said = verdict(new, old)
    assert (said is None) if says is None else (said is not None and says in said)


def test_metrics_are_added_up_without_our_own_questions() -> None:
    text = """\
# HELP florin_http_requests_total Requests answered.
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="201"} 7.0
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="500"} 2.0
florin_http_requests_total{method="POST",route="/api/v1/redemptions",status="503"} 1.0
florin_http_requests_total{method="GET",route="/health/ready",status="503"} 50.0
florin_http_request_seconds_sum{method="POST",route="/api/v1/redemptions"} 0.5
florin_http_request_seconds_sum{method="GET",route="/health/ready"} 9.0
"""
    assert read(text) == Counts(requests=10, errors=2, busy=1, seconds=0.5)
