"""Runner: the run of each benchmark: which servers start, which loads run, in which order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from florin.bench.catalog import BATCH, BENCHMARKS, INSTRUMENTATION, BenchmarkConfig
from florin.bench.environment import aged_dataset
from florin.bench.environment.balancer import start_balancer
from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchInstance, BenchServers, bench_servers
from florin.bench.load import pgbench
from florin.bench.load.wrk import Drive, drive_load, generator_name
from florin.bench.requests import locked_card
from florin.bench.requests.result import BenchmarkResult, Round
from florin.bench.verify.ledger import AnsweredCounts, check_ledger
from florin.ops.system.console import say, voice

WARM_S = 3.0
FEW_CARDS = 1_000
_LARGE = "florin_large"
_HELD_S = 5.0


@dataclass(slots=True)
class BenchmarkRun:
    """State of one run: configuration, servers, answered counts per database, and the last tag."""

    terms: BenchmarkConfig
    bench: BenchServers
    answered: dict[str, AnsweredCounts] = field(default_factory=dict[str, AnsweredCounts])
    tag: int = 0

    def of(self, dataset: Dataset) -> AnsweredCounts:
        return self.answered.setdefault(dataset.database, AnsweredCounts())

    async def drive(
        self,
        dataset: Dataset,
        instances: Sequence[BenchInstance],
        *,
        seconds: float | None = None,
        leave_out: int = 0,
    ) -> Drive:
        """Run the load once, and add its answers to the counts."""
        self.tag += 1
        kind = BENCHMARKS[self.terms.name].kind
        done = await drive_load(
            self.bench,
            dataset,
            kind,
            instances=instances,
            connections=self.terms.driven,
            seconds=seconds or self.terms.seconds,
            seed=self.terms.seed,
            tag=self.tag,
            leave_out=leave_out,
        )
        if kind != "lookup":
            unknown = self.terms.driven * (BATCH if kind == "batch" else 1)
            self.of(dataset).add(done.count, in_flight=unknown)
        return done

    async def warm(self, dataset: Dataset, instances: Sequence[BenchInstance]) -> None:
        voice.status("Warming up …")
        await self.drive(dataset, instances, seconds=min(WARM_S, self.terms.seconds))

    async def run_pgbench(
        self, dataset: Dataset, clients: int, seconds: float
    ) -> pgbench.PgbenchRun:
        kind = BENCHMARKS[self.terms.name].kind
        done = await pgbench.pgbench_run(
            self.bench, dataset, kind, clients=clients, seconds=seconds
        )
        if kind != "lookup":
            self.of(dataset).pgbench += done.count
        return done


async def run_benchmark(terms: BenchmarkConfig, commit: str) -> BenchmarkResult:
    """Start the servers, run a benchmark, and return its result."""
    from florin.bench.requests.instrumentation import compare_instrumentation

    run_rounds = {
        "growth": _growth,
        "held-card": _held_card,
        **dict.fromkeys(INSTRUMENTATION, compare_instrumentation),
    }.get(terms.name, _ordinary)
    async with bench_servers(commit) as bench:
        run = BenchmarkRun(terms, bench)
        space_mb = (
            aged_dataset.aged_dataset_space_mb(terms.card_count)
            if terms.name == "growth"
            else 3_000
        )
        await bench.start_postgres(space_mb=space_mb)
        datasets, rounds = await run_rounds(run)
        rss = bench.peak_rss_mb()
        books = tuple([await check_ledger(bench, dataset, run.of(dataset)) for dataset in datasets])
        return BenchmarkResult(
            terms=terms,
            cards=terms.card_count,
            rounds=tuple(rounds),
            books=books,
            peak_rss_mb=rss,
            generator=generator_name(),
            postgres=bench.server.version(),
            commit=commit,
        )


async def _ordinary(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Run pgbench, HTTP, pgbench, so that other load of the machine affects both equally."""
    terms, bench = run.terms, run.bench
    if terms.against is not None:
        pgbench.pgbench_program(bench)
    dataset = await make_dataset(bench, cards=terms.card_count)
    await settle(bench, dataset)
    instances = [await bench.start_instance() for _ in range(terms.instances)]
    if terms.balancer:
        instances = [await start_balancer(bench)]  # the load uses this address only
    await run.warm(dataset, instances)
    clients = await _clients(run, dataset) if terms.against is not None else 0
    rounds: list[Round] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = [await run.run_pgbench(dataset, clients, terms.seconds)] if clients else []
        done = await run.drive(dataset, instances)
        after = [await run.run_pgbench(dataset, clients, terms.seconds)] if clients else []
        rounds.append(Round(drive=done, pgbench=(*before, *after)))
        print_round(number, rounds[-1])
    return [dataset], rounds


async def _clients(run: BenchmarkRun, dataset: Dataset) -> int:
    """Return the number of connections at which pgbench is faster."""
    voice.status("Choosing the number of pgbench connections …")
    seconds = min(WARM_S, run.terms.seconds)
    numbers = sorted({pgbench.USUAL_CLIENTS, run.terms.connections})
    bouts = [await run.run_pgbench(dataset, number, seconds) for number in numbers]
    return max(bouts, key=lambda bout: bout.rate).clients


async def _growth(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Compare few cards with many, in two databases of one server, with instances for each."""
    terms, bench = run.terms, run.bench
    many = terms.card_count
    few = min(FEW_CARDS, max(1, many // 2))
    small = await make_dataset(bench, cards=few)
    await bench.add_database(_LARGE)
    large = await aged_dataset.make_aged_dataset(bench, cards=many, database=_LARGE)
    await settle(bench, small)
    of_small = [await bench.start_instance() for _ in range(terms.instances)]
    of_large = [await bench.start_instance(_LARGE) for _ in range(terms.instances)]
    await run.warm(small, of_small)
    await run.warm(large, of_large)
    rounds: list[Round] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = await run.drive(small, of_small)
        done = await run.drive(large, of_large)
        after = await run.drive(small, of_small)
        rounds.append(Round(drive=done, baseline=(before, after)))
        print_round(number, rounds[-1])
    return [small, large], rounds


async def _held_card(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Measure without, with and without a lock that this process holds on the last card."""
    terms, bench = run.terms, run.bench
    dataset = await make_dataset(bench, cards=max(2, terms.card_count))
    await settle(bench, dataset)
    instances = [await bench.start_instance() for _ in range(terms.instances)]
    await run.warm(dataset, instances)
    seconds = min(_HELD_S, terms.seconds)
    rounds: list[Round] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = await run.drive(dataset, instances, seconds=seconds, leave_out=1)
        async with _held(run, dataset, instances):
            done = await run.drive(dataset, instances, seconds=seconds, leave_out=1)
        after = await run.drive(dataset, instances, seconds=seconds, leave_out=1)
        rounds.append(Round(drive=done, baseline=(before, after)))
        print_round(number, rounds[-1])
    return [dataset], rounds


@asynccontextmanager
async def _held(
    run: BenchmarkRun, dataset: Dataset, instances: Sequence[BenchInstance]
) -> AsyncGenerator[None]:
    """Lock the last card, with clients that wait for the lock at every instance."""
    run.tag += 1
    async with locked_card.lock_last_card(run.bench, dataset):
        waiters = [
            asyncio.ensure_future(
                locked_card.redeem_locked_card(
                    dataset, instance, key=f"held-{run.terms.seed}-{run.tag}-{n}-{waiter}"
                )
            )
            for n, instance in enumerate(instances)
            for waiter in range(locked_card.TILLS)
        ]
        try:
            await locked_card.wait_for_lock_waiter(run.bench, dataset)
            yield
            locked_card.require_waiting(waiters)
        except BaseException:
            for waiter in waiters:
                waiter.cancel()
            raise
    # The lock is released: the waiting redemptions are answered now.
    run.of(dataset).add(sum(await asyncio.gather(*waiters)), in_flight=0)


async def settle(bench: BenchServers, dataset: Dataset) -> None:
    """Analyze and checkpoint now, so that the measurement does not include work of the seeding."""
    voice.status("Analysing …")
    admin = await bench.admin(dataset.database)
    try:
        await admin.execute("vacuum (analyze)")
        await admin.execute("checkpoint")
    finally:
        await admin.close()


def print_round(number: int, round_: Round) -> None:
    """Show the figures of a round as soon as it has ended."""
    drive_, pgbench_rate = round_.drive, round_.pgbench_rate
    line = f"Round {number}: {drive_.rate:,.0f}/s, p50 {drive_.p50_ms:.1f} ms,"
    line += f" p99 {drive_.p99_ms:.1f} ms, {drive_.failures} failures"
    if pgbench_rate:
        rates = ", ".join(f"{bout.rate:,.0f}" for bout in round_.pgbench)
        line += f"; pgbench {rates}/s; ratio {drive_.rate / pgbench_rate:.2f}"
    for side in round_.baseline:
        line += f"; baseline {side.rate:,.0f}/s, p99 {side.p99_ms:.1f} ms"
    say(line)
