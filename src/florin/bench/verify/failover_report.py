"""Failover report: the result of the failover benchmark, as values and as a table."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, inf

import msgspec

from florin.bench.load.constant_rate import LoggedRequest
from florin.bench.verify.acknowledged_writes import AcknowledgedCheck

REPLICAS = 2
AGAIN_WITHIN_S = 2.5  # the target, of 95 in 100
# Processes of a killed primary may answer for a moment; the gap begins soon after.
_SILENT_AFTER_S = 1.0
_COLUMNS = (
    f"{'kind':<10}{'again s':>9}{'slowest s':>11}{'whole s':>9}{'requests':>10}{'failures':>10}"
)
_PROVES_NOTHING = (
    "The control lost no write: a replica had received every acknowledged write. It proves nothing;"
    " repeat it with a higher --rate."
)


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One loss of the primary."""

    kind: str
    again_s: float  # until a write succeeded
    whole_s: float  # until there were a primary and two replicas
    slowest_s: float  # request
    requests: int
    failures: int


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of all requests, from before the first loss until after the last."""

    losses: list[Loss]
    requests: int
    failures: int
    answers: list[str]  # answers or errors of failed requests
    kept: AcknowledgedCheck
    differences: list[str]
    alarms: float  # reports that an acknowledged write may be lost

    @property
    def right(self) -> bool:
        lost = self.failures or self.kept.lost or self.kept.doubled
        return not lost and not self.differences


class FailoverResult(msgspec.Struct, frozen=True, kw_only=True):
    synchronous: Phase
    asynchronous: Phase | None  # the control
    again_p50_s: float
    again_p95_s: float
    again_most_s: float
    instances: int
    rate: float
    seed: int
    commit: str

    @property
    def right(self) -> bool:
        control = self.asynchronous is None or self.asynchronous.kept.lost > 0
        return self.synchronous.right and control


def write_gap_s(log: Sequence[LoggedRequest], lost_at: float) -> float:
    """Return the seconds from the loss until a write succeeded again."""
    answered = (each.at + each.seconds for each in log if each.kind == "redeem" and not each.failed)
    times = [lost_at, *sorted(at for at in answered if at > lost_at)]
    silences = [
        (then - since, then)
        for since, then in pairwise(times)
        if since <= lost_at + _SILENT_AFTER_S
    ]
    return max(silences)[1] - lost_at if silences else inf


def percentile(times: Sequence[float], percent: int) -> float:
    """Return the percentile by nearest rank; `times` are sorted."""
    return times[max(0, ceil(len(times) * percent / 100) - 1)]


def format_loss(loss: Loss) -> str:
    return (
        f"{loss.kind:<10}{loss.again_s:>9.2f}{loss.slowest_s:>11.2f}{loss.whole_s:>9.1f}"
        f"{loss.requests:>10}{loss.failures:>10}"
    )


def format_failover(result: FailoverResult) -> str:
    first, second = result.synchronous, result.asynchronous
    met = "met" if result.again_p95_s <= AGAIN_WITHIN_S else "not met"
    head = (
        f"failover: {len(first.losses)} losses of the primary; {result.instances} instances,"
        f" {REPLICAS} replicas, {result.rate:g} requests a second at most"
    )
    times = (
        f"Writes again after {result.again_p50_s:.2f} s (p50), {result.again_p95_s:.2f} s (p95),"
        f" {result.again_most_s:.2f} s at most; p95 within {AGAIN_WITHIN_S:g} s: {met}."
    )
    lines = [head, "", _COLUMNS, *map(format_loss, first.losses), "", times, *_books(first)]
    if second is not None:
        lines += ["", "The control: commits wait for no replica.", _COLUMNS]
        lines += [*map(format_loss, second.losses), "", *_books(second)]
        lines += [] if second.kept.lost else [_PROVES_NOTHING]
    return "\n".join([*lines, "", f"seed {result.seed}; commit {result.commit}."])


def _books(phase: Phase) -> list[str]:
    held = phase.kept
    answered = (
        f"{phase.requests:,} requests, {phase.failures} failed. Of {held.acknowledged:,} writes"
        f" that were acknowledged {held.lost} were lost, {held.doubled} doubled; {held.unknown}"
        f" of unknown outcome. {phase.alarms:g} alarms about possibly lost writes."
    )
    ledger = "; ".join(phase.differences[:3]) or "equals the log to the cent"
    return [answered, f"The ledger {ledger}.", *phase.answers]
