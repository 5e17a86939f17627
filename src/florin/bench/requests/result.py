"""Result: what a benchmark found, as values and as one document."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from florin.bench.catalog import BENCHMARKS, BenchmarkConfig
from florin.bench.environment import cpu_usage
from florin.bench.environment.cpu_usage import CpuUsage
from florin.bench.load.pgbench import PgbenchRun
from florin.bench.load.wrk import Drive
from florin.bench.verify.ledger import LedgerCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: pgbench before and after, or the other side of the comparison, and the drive."""

    drive: Drive
    pgbench: tuple[PgbenchRun, ...] = ()
    beside: tuple[Drive, ...] = ()  # the same without what the benchmark is about

    @property
    def pgbench_rate(self) -> float | None:
        return statistics.mean(bout.rate for bout in self.pgbench) if self.pgbench else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Everything that was measured, and the books of each shop."""

    terms: BenchmarkConfig
    cards: int
    rounds: tuple[Round, ...]
    books: tuple[LedgerCheck, ...]
    peak_rss_mb: float
    generator: str
    postgres: str
    commit: str

    @property
    def drives(self) -> list[Drive]:
        beside = [drive for round_ in self.rounds for drive in round_.beside]
        return [round_.drive for round_ in self.rounds] + beside

    @property
    def failures(self) -> int:
        return sum(drive.failures for drive in self.drives)

    @property
    def passed(self) -> bool:
        answered = all(drive.count > 0 for drive in self.drives)
        return answered and self.failures == 0 and all(judged.right for judged in self.books)

    def figures(self) -> dict[str, float | None]:
        """The medians of the rounds; a ratio is one of medians."""
        drives = [round_.drive for round_ in self.rounds]
        beside = [drive for round_ in self.rounds for drive in round_.beside]
        rivals = [rate for round_ in self.rounds if (rate := round_.pgbench_rate) is not None]
        rate, p99 = _median(d.rate for d in drives), _median(d.p99_ms for d in drives)
        return {
            "rate": rate,
            "pgbench_rate": _median(rivals),
            "ratio": _share(rate, _median(rivals)),
            "p50_ms": _median(d.p50_ms for d in drives),
            "p99_ms": p99,
            "beside_rate": _median(d.rate for d in beside),
            "beside_p99_ms": _median(d.p99_ms for d in beside),
            "p99_growth": _share(p99, _median(d.p99_ms for d in beside)),
            "peak_rss_mb": self.peak_rss_mb,
        }

    def document(self) -> dict[str, Any]:
        target = self.terms.target
        figures = self.figures()
        return {
            "object": "benchmark",
            "name": self.terms.name,
            "says": BENCHMARKS[self.terms.name].says,
            "against": self.terms.against,
            "ok": self.passed,
            **{name: _rounded(figure) for name, figure in figures.items()},
            "count": sum(round_.drive.count for round_ in self.rounds),
            "failures": self.failures,
            "target": {
                "what": target.what,
                "sense": target.sense,
                "bound": target.bound,
                "met": target.met(figures[target.what]),
            },
            "cpu": cpu_figures([round_.drive for round_ in self.rounds]),
            "rounds": [_round(round_) for round_ in self.rounds],
            "books": [_books(judged) for judged in self.books],
            "terms": {
                "seconds": self.terms.seconds,
                "connections": self.terms.driven,
                "instances": self.terms.instances,
                "balancer": self.terms.balancer,
                "cards": self.cards,
                "rounds": self.terms.rounds,
                "seed": self.terms.seed,
            },
            "machine": {
                "cores": cpu_usage.core_count(),
                "model": cpu_usage.cpu_model(),
                "generator": self.generator,
                "postgres": self.postgres,
            },
            "commit": self.commit,
        }


def cpu_figures(drives: Sequence[Drive]) -> dict[str, dict[str, float]]:
    """Where the CPU went: milliseconds a request, and percent of the whole machine."""
    requests = sum(drive.requests for drive in drives)
    whole = sum(drive.seconds for drive in drives) * cpu_usage.core_count()
    split: dict[str, dict[str, float]] = {}
    for part in ("balancer", "api", "postgres", "generator"):
        if part == "balancer" and not any(drive.used.balancer for drive in drives):
            continue  # there was none
        seconds = sum(getattr(drive.used, part) for drive in drives)
        split[part] = {
            "ms_per_request": round(seconds * 1000 / requests, 4) if requests else 0.0,
            "percent": round(100 * seconds / whole, 1) if whole else 0.0,
        }
    return split


def _round(round_: Round) -> dict[str, Any]:
    return {
        "http": _drive(round_.drive),
        "beside": [_drive(drive) for drive in round_.beside],
        "pgbench": [_bout(bout) for bout in round_.pgbench],
        "ratio": _rounded(_share(round_.drive.rate, round_.pgbench_rate)),
    }


def _drive(drive: Drive) -> dict[str, Any]:
    return {
        "rate": _rounded(drive.rate),
        "p50_ms": _rounded(drive.p50_ms),
        "p99_ms": _rounded(drive.p99_ms),
        "count": drive.count,
        "failures": drive.failures,
        "cpu": cpu_figures([drive]),
    }


def _bout(bout: PgbenchRun) -> dict[str, Any]:
    used: CpuUsage = bout.used
    return {
        "clients": bout.clients,
        "rate": _rounded(bout.rate),
        "latency_ms": _rounded(bout.latency_ms),
        "count": bout.count,
        "postgres_ms_per_transaction": round(used.postgres * 1000 / max(1, bout.count), 4),
        "pgbench_ms_per_transaction": round(used.generator * 1000 / max(1, bout.count), 4),
    }


def _books(judged: LedgerCheck) -> dict[str, Any]:
    return {
        "right": judged.right,
        "balanced": judged.balanced,
        "differences": list(judged.differences),
        "cards": judged.cards,
        "entries": judged.entries,
        "answered": judged.answered,
        "recorded": judged.recorded,
        "in_flight_at_most": judged.in_flight,
        "pgbench_answered": judged.pgbench_answered,
        "pgbench_recorded": judged.pgbench_recorded,
    }


def _median(values: Any) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _share(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)
