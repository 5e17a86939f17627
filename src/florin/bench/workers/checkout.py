"""Checkout: orders that are paid at the test gateway, settled, and their cards issued.

Everything between order and card happens in the two requests of a checkout, so no worker runs. What
a real gateway takes over its network is not in it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchInstance, BenchServers
from florin.bench.load.checkouts import CheckoutCounts, CheckoutLoad, run_checkouts
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.measurement import cards_space_mb, count_faults
from florin.bench.workers.result import Figures
from florin.kit import ids
from florin.ops.postgres import server as postgres
from florin.ops.system.console import say, voice

INSTANCES = 2
PROCESSES = 2  # of the load
WARM = 200  # checkouts before a round is measured
_SETTINGS = {"FLORIN_ENV": "development"}  # in production the test gateway is refused
_SOLD = """
select (select count(*) from florin.orders o where o.merchant = $1 and o.state = 'fulfilled')
    as "fulfilled orders",
  (select count(*) from florin.order_card c where c.merchant = $1) as "cards of orders",
  (select count(*) from florin.account a where a.merchant = $1 and a.balance = 5000)
    as "cards with their money",
  (select count(*) from florin.delivery d where d.merchant = $1 and d.kind = 'gift')
    as "deliveries"
"""


def space_mb(terms: WorkerBenchConfig) -> int:
    return cards_space_mb(terms.cards * terms.rounds)


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    dataset = await make_dataset(bench, cards=0)
    instances = [await bench.start_instance(settings=_SETTINGS) for _ in range(INSTANCES)]
    rounds: list[Figures] = []
    wrong: list[str] = []
    checkouts = 0
    for number in range(terms.rounds + 1):
        count = terms.cards if number else min(WARM, terms.cards)
        voice.status(f"Round {number} of {terms.rounds} …" if number else "Warming up …")
        load = _load(terms, dataset, instances, count, tag=f"{terms.seed}-{number}")
        figures, counts = await _measure(bench, load)
        checkouts += len(counts.took)
        wrong += counts.failures[:3]
        if number:
            rounds.append(figures)
            say(f"Round {number}: {figures['rate']:,.0f}/s, p99 {figures['p99_ms']:.0f} ms")
    wrong += await count_faults(bench, postgres.DATABASE, dataset.merchant, checkouts, _SOLD)
    return rounds, wrong, {}


def _load(
    terms: WorkerBenchConfig,
    dataset: Dataset,
    instances: Sequence[BenchInstance],
    count: int,
    *,
    tag: str,
) -> CheckoutLoad:
    return CheckoutLoad(
        host="127.0.0.1",
        ports=tuple(each.port for each in instances),
        authorization=f"Bearer {dataset.secret}",
        program=ids.show_id("prg", dataset.program),
        count=count,
        connections=terms.connections,
        processes=PROCESSES,
        tag=tag,
    )


async def _measure(bench: BenchServers, load: CheckoutLoad) -> tuple[Figures, CheckoutCounts]:
    before, begun = bench.used(), time.monotonic()
    counts = await asyncio.to_thread(run_checkouts, load)
    seconds, used = time.monotonic() - begun, bench.used().since(before)
    done = max(1, len(counts.took))
    took = counts.took or [0.0]
    return {
        "rate": len(counts.took) / seconds,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[min(len(took) - 1, len(took) * 99 // 100)],
        "api_ms": 1000 * used.api / done,
        "postgres_ms": 1000 * used.postgres / done,
        "cpu_ms": 1000 * (used.api + used.postgres) / done,
        "peak_rss_mb": bench.peak_rss_mb(),
    }, counts
