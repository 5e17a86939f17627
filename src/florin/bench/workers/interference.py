"""Interference: the latency of redemptions while a worker makes or expires very many cards.

Load and worker run throughout, the load at a constant rate. The worker's queues are paused, and
resumed in turn: at rest, bulk, at rest, expiry.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florin.bench.environment import cpu_usage
from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchServers, BenchWorker
from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import ConstantRateLoad
from florin.bench.load.constant_rate import LoggedRequest as Request
from florin.bench.workers import expired_dataset
from florin.bench.workers.bulk import request_job
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.ledger_check import ledger_faults
from florin.bench.workers.polling import until
from florin.bench.workers.result import Figures
from florin.cards.jobs import bulk_issue, expiry
from florin.kit import ids
from florin.kit.queue import admin as hand
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.ops.postgres import server as postgres
from florin.ops.system.console import OperatorError, say, voice

_CARDS_SPENT = 200
_CARDS_A_SECOND = 20_000  # that may be made during the run
_KB_A_CARD = 8
_WARM_S = 2.0
_LOOK_S = 0.05
_WITHIN_S = 60
_ACTIVE = "select exists (select from florin.queue_job where queue = $1 and state = 1)"
_LEFT = "select exists (select from florin.queue_job where queue = $1)"
_DONE = {
    bulk_issue.QUEUE: "select coalesce(sum(done), 0) from florin.job",
    expiry.QUEUE: "select count(*) from florin.account where state = 'expired'",
}


@dataclass(slots=True)
class InterferenceRun:
    bench: BenchServers
    load: ConstantRateLoad
    worker: BenchWorker
    admin: Any
    seconds: float
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPart:
    """One part of a round."""

    p50_ms: float
    p99_ms: float
    cards_rate: float
    requests_rate: float
    load: float  # percent of the machine


def space_mb(terms: WorkerBenchConfig) -> int:
    made = min(bulk_issue.MOST, round(terms.rounds * terms.seconds * _CARDS_A_SECOND))
    return 5_000 + (terms.cards + made) * _KB_A_CARD // 1000


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    dataset = await make_dataset(bench, cards=1)
    merchant = await expired_dataset.make_expired_dataset(
        bench, cards=terms.cards, database=postgres.DATABASE
    )
    admin = await bench.admin()
    try:
        for queue in _DONE:
            await hand.pause_queue(admin, "bench", queue, paused=True)
        # Write dirty pages of the seeding now, not during the measurement.
        await admin.execute("checkpoint")
        await request_job(bench, dataset, bulk_issue.MOST)
        await enqueue_now(admin, NewJob(queue=expiry.QUEUE, kind="sweep"))
        instance = await bench.start_instance()
        worker = await bench.start_worker("florin", "worker")
        spent = await _shop(dataset, instance.address)
        load = ConstantRateLoad(
            spent, rate=terms.rate, connections=terms.connections, seed=terms.seed
        )
        run = InterferenceRun(bench, load, worker, admin, terms.seconds)
        async with load.running():
            await asyncio.sleep(_WARM_S)
            rounds = [await _round(run, number) for number in range(1, terms.rounds + 1)]
        wrong = [f"{run.failed} requests failed"] if run.failed else []
        wrong += await constant_rate.ledger_differences(load)
        for each in (dataset.merchant, merchant):
            wrong += await ledger_faults(bench, postgres.DATABASE, each)
    finally:
        await admin.close()
    return rounds, wrong, {}


async def _shop(dataset: Dataset, address: str) -> constant_rate.LoadTarget:
    voice.status("Selling cards to spend from …")
    program = ids.show_id("prg", dataset.program)
    return await constant_rate.sell_cards(address, dataset.secret, program, cards=_CARDS_SPENT)


async def _round(run: InterferenceRun, number: int) -> Figures:
    voice.status(f"Round {number} …")
    before = await _part(run, None)
    made = await _part(run, bulk_issue.QUEUE)
    between = await _part(run, None)
    ended = await _part(run, expiry.QUEUE)
    figures = {
        "rest_p50_ms": (before.p50_ms + between.p50_ms) / 2,
        "rest_p99_ms": (before.p99_ms + between.p99_ms) / 2,
        "bulk_p50_ms": made.p50_ms,
        "bulk_p99_ms": made.p99_ms,
        "expiry_p50_ms": ended.p50_ms,
        "expiry_p99_ms": ended.p99_ms,
        "bulk_rate": made.cards_rate,
        "expiry_rate": ended.cards_rate,
        "requests_rate": before.requests_rate,
        "rest_load": (before.load + between.load) / 2,
    }
    say(
        f"Round {number}: p99 {before.p99_ms:.1f}, {between.p99_ms:.1f} ms at rest;"
        f" {made.p99_ms:.1f} ms with {made.cards_rate:,.0f} cards made per second,"
        f" {ended.p99_ms:.1f} ms with {ended.cards_rate:,.0f} expired per second"
    )
    return figures


async def _part(run: InterferenceRun, queue: str | None) -> RoundPart:
    """Resume a queue for a while; afterwards none of its jobs runs."""
    done = await _let_go(run, queue) if queue else 0
    begun = time.monotonic()
    run.load.cut()
    before = _cpu(run)
    await asyncio.sleep(run.seconds)
    log = run.load.cut()
    used = _cpu(run) - before
    cards_rate = await _stopped(run, queue, done, begun) if queue else 0.0
    run.failed += sum(request.failed for request in log)
    money: list[Request] = [request for request in log if request.kind == "redeem"]
    figures = constant_rate.latency_figures(money)
    return RoundPart(
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        cards_rate=cards_rate,
        requests_rate=len(log) / run.seconds,
        load=100 * used / (run.seconds * cpu_usage.core_count()),
    )


async def _let_go(run: InterferenceRun, queue: str) -> int:
    done: int = await run.admin.fetchval(_DONE[queue])
    await hand.pause_queue(run.admin, "bench", queue, paused=False)
    await _until(run, _ACTIVE, queue, true=True)
    return done


async def _stopped(run: InterferenceRun, queue: str, done: int, begun: float) -> float:
    """Return the cards per second since the queue was resumed."""
    if not await run.admin.fetchval(_LEFT, queue):
        raise OperatorError(
            f"The queue {queue} ran out of work: pass more --cards or fewer --rounds."
        )
    await hand.pause_queue(run.admin, "bench", queue, paused=True)
    await _until(run, _ACTIVE, queue, true=False)
    seconds = time.monotonic() - begun
    more: int = await run.admin.fetchval(_DONE[queue]) - done
    return more / seconds


async def _until(run: InterferenceRun, sql: str, queue: str, *, true: bool) -> None:
    async def seen() -> bool:
        return await run.admin.fetchval(sql, queue) == true

    otherwise = f"The worker does not process the queue {queue}; see {run.worker.log}."
    await until(seen, within_s=_WITHIN_S, look_s=_LOOK_S, otherwise=otherwise)


def _cpu(run: InterferenceRun) -> float:
    """Return the CPU seconds of all parts so far, including this process and its load."""
    used = run.bench.used(run.worker)
    own = os.times()
    return used.api + used.postgres + own.user + own.system
