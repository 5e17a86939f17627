"""Measurement: what one worker needs for the cards of a contest, and whether it did all of them."""

import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from florin.bench.environment import cpu_usage
from florin.bench.environment.servers import BenchServers, BenchWorker
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.ledger_check import ledger_faults
from florin.bench.workers.polling import until
from florin.bench.workers.result import Figures
from florin.ops.system.console import say, voice

_CARDS_A_SECOND = 500  # at least; a slower run counts as hung
_BEGIN_WITHIN_S = 60
_KB_A_CARD = 6


def cards_space_mb(cards: int) -> int:
    """The disk space that a contest needs, in MB."""
    return 5_000 + cards * _KB_A_CARD // 1000


async def run_rounds(
    bench: BenchServers,
    terms: WorkerBenchConfig,
    database: str,
    run: Callable[[], Awaitable[tuple[Figures, str | None]]],
) -> tuple[list[Figures], list[str]]:
    """Run the rounds of a benchmark, each on a new database of that name, and print their rates.
    `run` returns the figures of a round and what was lost or doubled; so does this, of all rounds.
    """
    rounds: list[Figures] = []
    wrong: list[str] = []
    admin = await bench.admin()
    try:
        for number in range(1, terms.rounds + 1):
            voice.status(f"Round {number} of {terms.rounds} …")
            await admin.execute(f"drop database if exists {database}")
            await bench.add_database(database)
            figures, fault = await run()
            rounds.append(figures)
            if fault is not None:
                wrong.append(fault)
            say(f"Round {number}: {figures['rate']:,.0f}/s")
    finally:
        await admin.close()
    return rounds, wrong


async def measure_worker(
    bench: BenchServers,
    worker: BenchWorker,
    cards: int,
    begin: Callable[[], Awaitable[Callable[[], Awaitable[bool]]]],
    *,
    look_s: float,
    otherwise: str,
    least_rate: int = _CARDS_A_SECOND,
) -> Figures:
    """Measure from the call of `begin`, which returns a check for the end, until that check is
    true. Raises OperatorError with `otherwise` when less than `least_rate` a second were done.
    """
    before = bench.used(worker)
    begun = time.monotonic()
    finished = await begin()
    ended = await until(
        finished,
        within_s=_BEGIN_WITHIN_S + cards / least_rate,
        look_s=look_s,
        otherwise=f"{otherwise}; see {worker.log}.",
    )
    used = bench.used(worker).since(before)
    return {
        "rate": cards / (ended - begun),
        "worker_ms": 1000 * used.api / cards,
        "postgres_ms": 1000 * used.postgres / cards,
        "peak_rss_mb": cpu_usage.peak_rss_mb(worker.process.pid),
    }


async def count_faults(
    bench: BenchServers, database: str, merchant: UUID, cards: int, sql: str, *more: object
) -> list[str]:
    """What is wrong: the counts in the row of `sql` that are not `cards`, and differences of the
    ledger. The parameters of `sql` are the merchant and `more`.
    """
    admin = await bench.admin(database)
    try:
        row = await admin.fetchrow(sql, merchant, *more)
    finally:
        await admin.close()
    counts = [f"of {cards} cards there are {n} {what}" for what, n in row.items() if n != cards]
    return counts + await ledger_faults(bench, database, merchant)
