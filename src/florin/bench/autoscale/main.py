"""Autoscale: simulate Florin's autoscaling policy and other policies over load traces."""

from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import msgspec

from florin.bench.autoscale import policies, report
from florin.bench.autoscale.policies import Policy
from florin.bench.autoscale.simulation import Score, simulate_trace
from florin.bench.autoscale.traces import LASTS_S, TRACES, Trace
from florin.ops.system.console import voice

SEEDS = 3


def main(*, as_json: bool = False, seed: int = 1, seeds: int = SEEDS) -> int:
    """Serve `florin bench autoscale`: a simulation without servers and without a clock."""
    scores: list[Score] = []
    for trace in TRACES:
        voice.status(f"{trace.name}: {trace.says}")
        scores += compare_policies(trace, seed=seed, seeds=seeds)
    voice.clear()
    if as_json:
        document = {"seed": seed, "seeds": seeds, "scores": [_plain(score) for score in scores]}
        print(msgspec.json.encode(document).decode())
    else:
        print(report.format_scores(scores, seed=seed, seeds=seeds))
    return 0


def compare_policies(trace: Trace, *, seed: int, seeds: int) -> list[Score]:
    """Simulate a trace under each policy; a score is the mean over the seeds.

    The curve of a score is that of the first seed. The fixed policy has the number of workers that
    costs as many worker-hours as Florin's policy.
    """
    ours = _mean(policies.FlorinPolicy, trace, seed, seeds)
    fixed = max(1, round(ours.worker_hours * 3_600 / LASTS_S))
    rest: list[Callable[[], Policy]] = [
        policies.HpaPolicy,
        policies.SteppingPolicy,
        lambda: policies.FixedPolicy(fixed),
    ]
    return [ours, *(_mean(make, trace, seed, seeds) for make in rest)]


def _mean(make: Callable[[], Policy], trace: Trace, seed: int, seeds: int) -> Score:
    scores = list(_runs(make, trace, range(seed, seed + seeds)))
    mean = scores[0]
    for name in ("within", "p99_s", "worker_hours", "ideal_hours", "flips", "changes"):
        setattr(mean, name, fmean(getattr(score, name) for score in scores))
    mean.unfinished = sum(score.unfinished for score in scores)
    return mean


def _runs(make: Callable[[], Policy], trace: Trace, seeds: range) -> Iterator[Score]:
    for seed in seeds:
        yield simulate_trace(trace, make(), seed=seed)


def _plain(score: Score) -> dict[str, Any]:
    return {name: getattr(score, name) for name in Score.__slots__}
