"""Confidence: the exact bound, against tables and the binomial's own sum."""

from math import comb

import pytest

from florin.gate.confidence import upper_bound


@pytest.mark.parametrize(
    ("failed", "requests", "bound"),
    [
        # With no failure the bound has a closed form: 1 - 0.05 ** (1 / n).
        (0, 1, 0.95),
        (0, 10, 0.25887),
        (0, 100, 0.029513),
        (0, 100_000, 2.99569e-05),
        # The one-sided 95 % limits of Clopper and Pearson.
        (1, 10, 0.39416),
        (5, 10, 0.77756),
        (10, 10, 1.0),
    ],
)
def test_it_is_the_bound_of_clopper_and_pearson(failed: int, requests: int, bound: float) -> None:
    assert upper_bound(failed, requests) == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize(("failed", "requests"), [(0, 7), (2, 30), (17, 40)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_at_the_bound_so_few_failures_have_the_remaining_probability(
    failed: int, requests: int, level: float
) -> None:
    p = upper_bound(failed, requests, level)
    exact = sum(comb(requests, k) * p**k * (1 - p) ** (requests - k) for k in range(failed + 1))
    assert exact == pytest.approx(1 - level, rel=1e-6)


@pytest.mark.parametrize(("failed", "requests"), [(-1, 1), (2, 1)])
def test_what_is_no_sample_is_refused(failed: int, requests: int) -> None:
    with pytest.raises(ValueError, match="no sample"):
        upper_bound(failed, requests)
