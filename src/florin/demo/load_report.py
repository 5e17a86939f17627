"""Load report: what a load did and what it took, as a document and in words; whether all is
well.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

JUDGED_FROM_S = 300.0  # in a shorter run growth cannot be judged
_GREW_MAX, _GREW_MAX_MB = 1.2, 16.0  # a cache that still fills is not a leak
_STEADY_PARTS = ("api", "worker", "balancer", "supervisor", "valkey")


class Sample(msgspec.Struct, frozen=True):
    """At `at` seconds: memory in MB by part, connections of the database, workers, waiting jobs."""

    at: float
    memory: dict[str, float]
    connections: int | None
    workers: int
    waiting: int


class LoadReport(msgspec.Struct, kw_only=True):
    seconds: float = 0
    sold: int = 0
    redeemed: int = 0
    refunded: int = 0
    held: int = 0
    asked: int = 0  # jobs
    cards_asked: int = 0
    finished: int = 0  # jobs
    cards_made: int = 0
    lost: list[str] = msgspec.field(default_factory=list[str])  # jobs that are incomplete
    left: int = 0  # in the queues at the end
    broken: int = 0  # connections; their requests were repeated with the same key
    balanced: bool = False
    samples: list[Sample] = msgspec.field(default_factory=list[Sample])

    @property
    def workers(self) -> tuple[int, int, int]:
        """The number of workers at the start, at most, and at the end."""
        numbers = [sample.workers for sample in self.samples] or [0]
        return numbers[0], max(numbers), numbers[-1]

    @property
    def grew(self) -> list[str]:
        """Memory that is larger in the last third than in the second; empty for a short run."""
        load = [sample for sample in self.samples if sample.at <= self.seconds]
        if self.seconds < JUDGED_FROM_S or len(load) < 9:  # noqa: PLR2004 -- three samples per third
            return []
        third = len(load) // 3
        before, after = load[third : 2 * third], load[2 * third :]
        names = [name for name in after[-1].memory if name.startswith(_STEADY_PARTS)]
        grew = [
            name
            for name in names
            if len(_of(before, name)) > third // 2
            and median(_of(after, name))
            > max(median(_of(before, name)) * _GREW_MAX, median(_of(before, name)) + _GREW_MAX_MB)
        ]
        counts = [[s.connections for s in part if s.connections] for part in (before, after)]
        if all(counts) and max(counts[1]) > max(counts[0]) * _GREW_MAX + 5:
            grew.append("connections")
        return grew

    @property
    def right(self) -> bool:
        return self.balanced and not self.lost and not self.left and not self.grew

    def document(self) -> dict[str, Any]:
        whole = msgspec.to_builtins(self)
        before, most, after = self.workers
        whole |= {"object": "load", "workers": {"before": before, "most": most, "after": after}}
        return whole | {"memory": self._spans(), "grew": self.grew, "right": self.right}

    def text(self) -> str:
        before, most, after = self.workers
        lines = [
            f"In {self.seconds:.0f} s: {self.sold} cards sold, {self.redeemed} redemptions,",
            f"{self.refunded} refunds, {self.held} holds captured.",
            f"Jobs: {self.asked} requested, {self.finished} finished, {self.left} left.",
            f"Cards of these jobs: {self.cards_asked} requested, {self.cards_made} issued.",
            f"Broken connections: {self.broken}.",
            f"Workers: {before} before, {most} at most, {after} at the end.",
        ]
        for name, (first, last, peak) in self._spans().items():
            lines.append(f"  {name:<12} {first:7.1f} -> {last:7.1f}, at most {peak:7.1f} MB")
        counts = [sample.connections for sample in self.samples if sample.connections]
        if counts:
            lines.append(f"  connections  {counts[0]} -> {counts[-1]}, at most {max(counts)}")
        lines += [f"LOST: {each}" for each in self.lost]
        lines += [f"GREW: {each}" for each in self.grew]
        lines.append(f"The books {'balance' if self.balanced else 'DO NOT BALANCE'}.")
        return "\n".join(lines)

    def _spans(self) -> dict[str, tuple[float, float, float]]:
        """By part: memory at the first sample of it, at the last, at most."""
        names = dict.fromkeys(name for sample in self.samples for name in sample.memory)
        held = {name: _of(self.samples, name) for name in names}
        return {name: (mb[0], mb[-1], max(mb)) for name, mb in held.items()}


def _of(samples: Sequence[Sample], name: str) -> list[float]:
    return [sample.memory[name] for sample in samples if name in sample.memory]
