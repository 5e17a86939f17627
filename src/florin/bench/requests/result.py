"""Result: the figures of a benchmark, as values and as one JSON document."""

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
    """One round: the measured drive, and pgbench or baseline drives before and after it."""

    drive: Drive
    pgbench: tuple[PgbenchRun, ...] = ()
    baseline: tuple[Drive, ...] = ()  # the same load without the condition under test

    @property
    def pgbench_rate(self) -> float | None:
        return statistics.mean(run.rate for run in self.pgbench) if self.pgbench else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """All measurements of a benchmark, and the ledger check of each dataset."""

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
        baseline = [drive for round_ in self.rounds for drive in round_.baseline]
        return [round_.drive for round_ in self.rounds] + baseline

    @property
    def failures(self) -> int:
        return sum(drive.failures for drive in self.drives)

    @property
    def passed(self) -> bool:
        answered = all(drive.count > 0 for drive in self.drives)
        return answered and self.failures == 0 and all(check.right for check in self.books)

    def figures(self) -> dict[str, float | None]:
        """Return the medians of the rounds; a ratio is a ratio of medians."""
        drives = [round_.drive for round_ in self.rounds]
        baseline = [drive for round_ in self.rounds for drive in round_.baseline]
        pgbench_rates = [
            rate for round_ in self.rounds if (rate := round_.pgbench_rate) is not None
        ]
        rate, p99 = _median(d.rate for d in drives), _median(d.p99_ms for d in drives)
        return {
            "rate": rate,
            "pgbench_rate": _median(pgbench_rates),
            "ratio": _share(rate, _median(pgbench_rates)),
            "p50_ms": _median(d.p50_ms for d in drives),
            "p99_ms": p99,
            "beside_rate": _median(d.rate for d in baseline),
            "beside_p99_ms": _median(d.p99_ms for d in baseline),
            "p99_growth": _share(p99, _median(d.p99_ms for d in baseline)),
            "api_cpu_growth": _share(_api_cpu(drives), _api_cpu(baseline)),
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
            "books": [_books(check) for check in self.books],
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
    """Return the CPU per part: milliseconds per request, and percent of the whole machine."""
    requests = sum(drive.requests for drive in drives)
    whole = sum(drive.seconds for drive in drives) * cpu_usage.core_count()
    split: dict[str, dict[str, float]] = {}
    for part in ("balancer", "api", "postgres", "generator"):
        if part == "balancer" and not any(drive.used.balancer for drive in drives):
            continue  # the run had no balancer
        seconds = sum(getattr(drive.used, part) for drive in drives)
        split[part] = {
            "ms_per_request": round(seconds * 1000 / requests, 4) if requests else 0.0,
            "percent": round(100 * seconds / whole, 1) if whole else 0.0,
        }
    return split


def _round(round_: Round) -> dict[str, Any]:
    return {
        "http": _drive(round_.drive),
        "beside": [_drive(drive) for drive in round_.baseline],
        "pgbench": [_pgbench(run) for run in round_.pgbench],
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


def _pgbench(run: PgbenchRun) -> dict[str, Any]:
    used: CpuUsage = run.used
    return {
        "clients": run.clients,
        "rate": _rounded(run.rate),
        "latency_ms": _rounded(run.latency_ms),
        "count": run.count,
        "postgres_ms_per_transaction": round(used.postgres * 1000 / max(1, run.count), 4),
        "pgbench_ms_per_transaction": round(used.generator * 1000 / max(1, run.count), 4),
    }


def _books(check: LedgerCheck) -> dict[str, Any]:
    return {
        "right": check.right,
        "balanced": check.balanced,
        "differences": list(check.differences),
        "cards": check.cards,
        "entries": check.entries,
        "answered": check.answered,
        "recorded": check.recorded,
        "in_flight_at_most": check.in_flight,
        "pgbench_answered": check.pgbench_answered,
        "pgbench_recorded": check.pgbench_recorded,
    }


def _api_cpu(drives: Sequence[Drive]) -> float | None:
    """Return the median of the API's CPU seconds per request."""
    return _median(drive.used.api / drive.requests for drive in drives if drive.requests)


def _median(values: Any) -> float | None:
    numbers = list(values)
    return statistics.median(numbers) if numbers else None


def _share(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)
