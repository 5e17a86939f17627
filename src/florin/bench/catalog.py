"""Catalog: the configuration of a benchmark and its target."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["redeem", "batch", "lookup"]
Sense = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """How to measure. `cards` None means the benchmark's default number."""

    name: str
    against: str | None = None
    seconds: float = 10
    connections: int = 64
    instances: int = 1
    cards: int | None = None
    rounds: int = 3
    seed: int = 1
    balancer: bool = False  # the load goes through HAProxy, as in a fleet

    @property
    def target(self) -> "Target":
        if self.balancer and self.name == "redeem":
            return Target(what="ratio", sense="at least", bound=0.8)
        return BENCHMARKS[self.name].target

    @property
    def card_count(self) -> int:
        own = BENCHMARKS[self.name].cards
        hot = self.name in {"hot-card", "hot-cards"}  # these fix the number of cards
        return own if hot or self.cards is None else self.cards

    @property
    def driven(self) -> int:
        """The number of connections that the load uses."""
        return min(self.connections, BENCHMARKS[self.name].connections_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure of the benchmark's result and the bound it should keep."""

    what: str
    sense: Sense
    bound: float

    def met(self, figure: float | None) -> bool | None:
        """Return whether the target is met; None when the figure was not measured."""
        if figure is None:
            return None
        return figure >= self.bound if self.sense == "at least" else figure <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One name of `florin bench`."""

    kind: Kind
    cards: int
    target: Target
    says: str
    connections_max: int = 1_000


BENCHMARKS: dict[str, Benchmark] = {
    "redeem": Benchmark(
        kind="redeem",
        cards=10_000,
        target=Target(what="ratio", sense="at least", bound=1.0),
        says="one redemption per request, random cards",
    ),
    "hot-card": Benchmark(
        kind="redeem",
        cards=1,
        target=Target(what="ratio", sense="at least", bound=2.0),
        says="all redemptions on the same card",
    ),
    "hot-cards": Benchmark(
        kind="redeem",
        cards=10,
        target=Target(what="ratio", sense="at least", bound=2.0),
        says="all redemptions on ten cards",
    ),
    "batch": Benchmark(
        kind="batch",
        cards=10_000,
        target=Target(what="ratio", sense="at least", bound=4.0),
        says="1000 redemptions per request, few at a time; the rate counts redemptions",
        connections_max=4,
    ),
    "balance": Benchmark(
        kind="lookup",
        cards=1_000,
        target=Target(what="ratio", sense="at least", bound=0.15),
        says="look-ups by code",
    ),
    "growth": Benchmark(
        kind="redeem",
        cards=1_000_000,
        target=Target(what="p99_growth", sense="at most", bound=1.5),
        says="redemptions with few cards, compared with many cards of five entries each",
    ),
    "held-card": Benchmark(
        kind="redeem",
        cards=10_000,
        target=Target(what="p99_growth", sense="at most", bound=2.0),
        says="redemptions while another transaction holds the lock of another card",
    ),
    "memory": Benchmark(
        kind="redeem",
        cards=10_000,
        target=Target(what="peak_rss_mb", sense="at most", bound=150),
        says="the peak memory of an instance under redemptions",
    ),
}
INSTRUMENTATION = ("metrics", "access-log", "traces")
BENCHMARKS.update(
    {
        name: Benchmark(
            kind="redeem",
            cards=10_000,
            target=Target(what="api_cpu_growth", sense="at most", bound=bound),
            says=says,
        )
        for name, bound, says in (
            ("metrics", 1.05, "redemptions with metrics, compared with none"),
            ("access-log", 1.1, "redemptions with the access log, compared with none"),
            (
                "traces",
                1.05,
                "redemptions of which 1 % are traced and exported, compared with none",
            ),
        )
    }
)
MUTANTS = "mutants"
AUTOSCALE = "autoscale"
DEPLOYS = "deploys"
# Benchmarks of workers.
WORK = ("queue", "expiry", "bulk", "deliveries", "webhooks", "checkout", "beside")
REPLICAS = "replicas"
FAILOVER = "failover"
PAGES = "pages"
NAMES = (*BENCHMARKS, *WORK, MUTANTS, AUTOSCALE, DEPLOYS, REPLICAS, FAILOVER, PAGES)
COMPARED = ("redeem", "hot-card", "hot-cards", "batch", "balance")
BATCH = 1000
