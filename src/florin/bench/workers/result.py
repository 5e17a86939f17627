"""Result: the figures of a worker benchmark, as values and as one JSON document."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from florin.bench.environment import cpu_usage
from florin.bench.workers.catalog import BENCHMARKS, WorkerBenchConfig

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBenchResult:
    """The figures of each round, and the faults found; a run with faults is not valid."""

    terms: WorkerBenchConfig
    rounds: Sequence[Figures]
    wrong: Sequence[str]
    postgres: str
    commit: str
    notes: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def right(self) -> bool:
        return not self.wrong

    def figures(self) -> Figures:
        """Return the medians of the rounds, for peaks the maximum; a quotient is one of medians."""
        names = list(self.rounds[0])
        found = {name: _together(name, [one[name] for one in self.rounds]) for name in names}
        for share, one, other in BENCHMARKS[self.terms.name].shares:
            found[share] = found[one] / found[other]
        return found

    def document(self) -> dict[str, Any]:
        figures = self.figures()
        benchmark = BENCHMARKS[self.terms.name]
        return {
            "object": "benchmark",
            "name": self.terms.name,
            "says": benchmark.says,
            "ok": self.right,
            **_rounded(figures),
            "targets": [
                {
                    "what": target.what,
                    "sense": target.sense,
                    "bound": target.bound,
                    "met": target.met(figures[target.what]),
                }
                for target in benchmark.targets
            ],
            "rounds": [_rounded(one) for one in self.rounds],
            "wrong": list(self.wrong),
            "notes": dict(self.notes),
            "terms": {"rounds": len(self.rounds), "seed": self.terms.seed, **self._own_terms()},
            "machine": {
                "cores": cpu_usage.core_count(),
                "model": cpu_usage.cpu_model(),
                "postgres": self.postgres,
            },
            "commit": self.commit,
        }

    def _own_terms(self) -> dict[str, float]:
        terms = self.terms
        match terms.name:
            case "queue":
                return {"jobs": terms.jobs}
            case "beside":
                return {
                    "cards": terms.cards,
                    "seconds": terms.seconds,
                    "rate": terms.rate,
                    "connections": terms.connections,
                }
            case "checkout":
                return {"checkouts": terms.cards, "connections": terms.connections}
            case _:
                return {"cards": terms.cards}


def _together(name: str, values: Sequence[float]) -> float:
    return max(values) if name.startswith("peak") else statistics.median(values)


def _rounded(figures: Mapping[str, float]) -> Figures:
    return {name: round(figure, 3) for name, figure in figures.items()}
