"""Catalog: the configuration of a worker benchmark, and its targets."""

from dataclasses import dataclass

from florin.bench.catalog import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBenchConfig:
    """How to measure; `seconds` and `rate` are of the benchmark `beside` alone."""

    name: str
    jobs: int
    cards: int
    rounds: int
    seconds: float
    rate: float
    connections: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBenchmark:
    """One benchmark: its targets, and the figures that are quotients of two others."""

    says: str
    cards: int
    targets: tuple[Target, ...]
    shares: tuple[tuple[str, str, str], ...]  # quotient, numerator, denominator


def _least(what: str, bound: float) -> Target:
    return Target(what=what, sense="at least", bound=bound)


def _most(what: str, bound: float) -> Target:
    return Target(what=what, sense="at most", bound=bound)


BENCHMARKS: dict[str, WorkerBenchmark] = {
    "queue": WorkerBenchmark(
        says="no-op jobs, one worker, compared with one PgQueuer worker",
        cards=0,
        targets=(_least("ratio", 1.5), _least("outbox_ratio", 0.75)),
        shares=(
            ("ratio", "rate", "pgqueuer_rate"),
            ("outbox_ratio", "outbox_rate", "pgqueuer_rate"),
        ),
    ),
    "expiry": WorkerBenchmark(
        says="due cards, one worker, compared with one INSERT and one UPDATE of the same rows",
        cards=1_000_000,
        targets=(_least("rate", 10_000), _least("ratio", 0.3)),
        shares=(("ratio", "rate", "sql_rate"),),
    ),
    "bulk": WorkerBenchmark(
        says="a job of many cards, one worker, compared with COPY of the same rows",
        cards=1_000_000,
        targets=(_least("rate", 10_000), _least("ratio", 0.2), _most("peak_rss_mb", 300)),
        shares=(("ratio", "rate", "copy_rate"),),
    ),
    "deliveries": WorkerBenchmark(
        says="e-mails to a mail server that takes them at once, one worker",
        cards=2_000,
        targets=(_least("rate", 100),),
        shares=(),
    ),
    "webhooks": WorkerBenchmark(
        says="messages to a receiver that answers at once, one worker",
        cards=30_000,
        targets=(_least("rate", 1_000),),
        shares=(),
    ),
    "checkout": WorkerBenchmark(
        says="orders, each paid at the test gateway, settled, and its card issued; two instances",
        cards=5_000,
        targets=(_least("rate", 500),),
        shares=(),
    ),
    "beside": WorkerBenchmark(
        says="redemptions at a constant rate, while cards are made, and while cards expire",
        cards=600_000,
        targets=(_most("bulk_growth", 2), _most("expiry_growth", 2)),
        shares=(
            ("bulk_growth", "bulk_p99_ms", "rest_p99_ms"),
            ("expiry_growth", "expiry_p99_ms", "rest_p99_ms"),
        ),
    ),
}
