"""Confidence: how many requests may fail at most, given how many of a sample failed."""

from math import exp, lgamma, log, log1p

LEVEL = 0.95
_STEPS = 200  # of the bisection: more than a double can distinguish


def upper_bound(failed: int, requests: int, level: float = LEVEL) -> float:
    """Return the exact one-sided upper confidence bound of the share of failures.

    It is the largest share p for which `failed` or fewer of `requests` failures have a probability
    of at least 1 - level. Source: C. J. Clopper and E. S. Pearson, "The use of confidence or
    fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934), 404-413. With no
    failure it is 1 - (1 - level) ** (1 / requests), about 3 / requests. Raises ValueError.
    """
    if not 0 <= failed <= requests or not 0 < level < 1:
        raise ValueError(f"no sample: {failed} of {requests} at {level}")
    if failed == requests:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(failed, requests, middle) >= 1 - level:
            low = middle
        else:
            high = middle
    return high


def _at_most(failed: int, requests: int, share: float) -> float:
    """Return the probability of `failed` or fewer failures: a sum of the binomial's terms."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    total = 0.0
    for k in range(failed + 1):
        ways = lgamma(requests + 1) - lgamma(k + 1) - lgamma(requests - k + 1)
        total += exp(ways + k * log(share) + (requests - k) * log1p(-share))
    return min(1.0, total)
