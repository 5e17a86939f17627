"""Report: the table of all policies over all traces, and their workers over time."""

from collections.abc import Sequence
from itertools import groupby

from florin.bench.autoscale.simulation import Score
from florin.bench.autoscale.traces import LASTS_S, OBJECTIVE_S, SERVICE_S, TRACES

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


def format_scores(scores: Sequence[Score], *, seed: int, seeds: int) -> str:
    says = {trace.name: trace.says for trace in TRACES}
    terms = (
        f"{LASTS_S / 60:.0f} minutes, jobs of {SERVICE_S:g} s (lognormal, cv 1), means of {seeds}"
        f" seeds from {seed}; in time: started within {OBJECTIVE_S:g} s; cost: worker-hours over"
        " those of all work at 70 % utilisation."
    )
    head = (
        f"{'trace':<12}{'policy':<12}{'in time':>9}{'p99':>9}{'hours':>8}{'cost':>7}{'flips/h':>9}"
    )
    lines = [terms, "", head]
    for name, group in groupby(scores, key=lambda score: score.trace):
        members = list(group)
        lines += [_row(score) for score in members]
        lines.append(f"  {says[name]}; workers over time, and the jobs that wait under florin:")
        most = max(count for score in members for _, count, _ in score.counts)
        lines += [f"  {score.policy:<12}{_curve(score, 1, most)}" for score in members]
        waiting = max(1, *(count for _, _, count in members[0].counts))
        lines.append(f"  {'waiting':<12}{_curve(members[0], 2, waiting)} at most {waiting:,}")
        lines.append("")
    return "\n".join(lines)


def _row(score: Score) -> str:
    hours = LASTS_S / 3_600
    return (
        f"{score.trace:<12}{score.policy:<12}{100 * score.within:>8.2f}%{score.p99_s:>8.1f}s"
        f"{score.worker_hours:>8.2f}{score.worker_hours / score.ideal_hours:>7.2f}"
        f"{score.flips / hours:>9.1f}"
        + (f"  {score.unfinished} unfinished" * bool(score.unfinished))
    )


def _curve(score: Score, column: int, most: int) -> str:
    """Return a line of bars, each the maximum of its interval."""
    heights = [0] * _WIDTH
    for count in score.counts:
        place = min(_WIDTH - 1, int(count[0] / LASTS_S * _WIDTH))
        heights[place] = max(heights[place], int(count[column]))
    return "".join(_BARS[-(-height * (len(_BARS) - 1) // most)] for height in heights)
