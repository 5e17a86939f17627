"""Queue: a Florin worker and a PgQueuer worker, in turn, empty a queue of jobs that do nothing.

Both are measured from the start of the first job to the empty queue in the database, without the
start of the process and the filling of the queue. With the outbox the jobs are in the outbox, as
transactions leave them, and the worker moves and runs them; measured from before it connects.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import florin
from florin.bench.environment import cpu_usage
from florin.bench.environment.servers import BenchServers, BenchWorker
from florin.bench.load.wrk import run_generator
from florin.bench.workers import job_counter, noop_worker
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.polling import until
from florin.bench.workers.result import Figures
from florin.kit.postgres.database import Database
from florin.kit.queue import enqueue
from florin.ops.postgres import server as postgres
from florin.ops.system.console import OperatorError, say, voice

_RIVAL = "florin_rival"
_BATCHES = (50, 200, 500)  # of PgQueuer's dequeue; its default is 10
_AT_ONCE = 5_000
_LOOK_S = 0.005
_WITHIN_S = 600
_FILL_WITHIN_S = 300
_LEFT = (
    "select exists (select from florin.queue_job) or exists (select from florin.outbox)",
    "select exists (select from public.pgqueuer)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainedQueue:
    """The figures of one queue that was emptied."""

    jobs: int
    ran: int
    seconds: float
    worker_s: float  # CPU
    postgres_s: float

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


def space_mb(_terms: WorkerBenchConfig) -> int:
    return 3_000


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    if find_spec("pgqueuer") is None:
        raise OperatorError(
            "PgQueuer is not installed; run bin/test in a checkout to make an environment with it."
        )
    await _make_pgqueuer_database(bench)
    batch = await _batch(bench, max(1, terms.jobs // 5))
    rounds: list[Figures] = []
    wrong: list[str] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = await _run_pgqueuer(bench, terms.jobs, batch)
        ours = await _run_florin(bench, terms.jobs, by_outbox=False)
        outbox = await _run_florin(bench, terms.jobs, by_outbox=True)
        after = await _run_pgqueuer(bench, terms.jobs, batch)
        rounds.append(
            {
                "rate": ours.rate,
                "outbox_rate": outbox.rate,
                "pgqueuer_rate": (before.rate + after.rate) / 2,
                "worker_ms": 1000 * ours.worker_s / ours.jobs,
                "postgres_ms": 1000 * ours.postgres_s / ours.jobs,
            }
        )
        wrong += [
            f"round {number}: {one.ran} of {one.jobs} jobs ran"
            for one in (before, ours, outbox, after)
            if one.ran != one.jobs
        ]
        say(
            f"Round {number}: {ours.rate:,.0f}/s, by the outbox {outbox.rate:,.0f}/s;"
            f" PgQueuer {before.rate:,.0f}, {after.rate:,.0f}/s"
        )
    notes = {
        "PgQueuer": f"batches of {batch}, the best of {', '.join(map(str, _BATCHES))}; durability"
        " balanced, its settings for autovacuum, one connection, uvloop"
    }
    return rounds, wrong, notes


async def _batch(bench: BenchServers, jobs: int) -> int:
    """Return the batch size at which PgQueuer is fastest; with few jobs the largest."""
    if jobs < max(_BATCHES):
        return max(_BATCHES)
    voice.status("Choosing PgQueuer's batch size …")
    rates = {size: (await _run_pgqueuer(bench, jobs, size)).rate for size in _BATCHES}
    return max(rates, key=lambda size: rates[size])


async def _make_pgqueuer_database(bench: BenchServers) -> None:
    admin = await bench.admin()
    try:
        await admin.execute(f"create database {_RIVAL} owner {postgres.APP}")
    finally:
        await admin.close()


async def _run_pgqueuer(bench: BenchServers, jobs: int, batch: int) -> DrainedQueue:
    voice.status("PgQueuer …")
    module = "florin.bench.workers.pgqueuer"
    environ = {
        "PYTHONPATH": str(Path(florin.__file__).parents[1]),
        "DATABASE_URL": bench.url(postgres.APP, _RIVAL),
    }
    argv = [sys.executable, "-P", "-m", module, "fill", str(jobs)]
    await run_generator(argv, environ, within_s=_FILL_WITHIN_S)
    admin = await bench.admin(_RIVAL)
    try:
        return await _drained(bench, admin, jobs, _RIVAL, (module, "work", str(jobs), str(batch)))
    finally:
        await admin.close()


async def _run_florin(bench: BenchServers, jobs: int, *, by_outbox: bool) -> DrainedQueue:
    voice.status("Florin, by the outbox …" if by_outbox else "Florin …")
    opened = Database(bench.url(postgres.APP), name="bench")
    await opened.open()
    try:
        for start in range(0, jobs, _AT_ONCE):
            jobs_now = [noop_worker.noop_jobs(n) for n in range(start, min(start + _AT_ONCE, jobs))]
            async with opened.transaction() as tx:
                await (enqueue.enqueue if by_outbox else enqueue.enqueue_now)(tx, *jobs_now)
    finally:
        await opened.close()
    admin = await bench.admin()
    try:
        early = ("early",) if by_outbox else ()
        module = ("florin.bench.workers.noop_worker", str(jobs), *early)
        return await _drained(bench, admin, jobs, postgres.DATABASE, module)
    finally:
        await admin.close()


async def _drained(
    bench: BenchServers, admin: Any, jobs: int, database: str, module: tuple[str, ...]
) -> DrainedQueue:
    """Start a worker on a filled queue, measure until the queue is empty, and stop the worker."""
    await admin.execute("vacuum (analyze)")
    await admin.execute("checkpoint")
    worker = await bench.start_worker(*module, database=database)
    before = bench.used(worker)
    sql = _LEFT[database == _RIVAL]

    async def empty() -> bool:
        return job_counter.last_counts(worker.log).all_ran and not await admin.fetchval(sql)

    try:
        otherwise = f"{module[0]} did not empty its queue; see {worker.log}."
        ended = await until(empty, within_s=_WITHIN_S, look_s=_LOOK_S, otherwise=otherwise)
        used = bench.used(worker).since(before)
    finally:
        await worker.stop()
    return _counted(worker, jobs, ended, used)


def _counted(
    worker: BenchWorker, jobs: int, ended: float, used: cpu_usage.CpuUsage
) -> DrainedQueue:
    counts = job_counter.last_counts(worker.log)
    if counts.began is None or counts.count is None:
        raise OperatorError(f"A worker ended without reporting its jobs; see {worker.log}.")
    return DrainedQueue(
        jobs=jobs,
        ran=counts.count,
        seconds=ended - counts.began,
        worker_s=used.api,
        postgres_s=used.postgres,
    )
