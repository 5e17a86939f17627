"""Runner: each benchmark as a run: what is started, what is driven, in which order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from florin.bench.catalog import BATCH, BENCHMARKS, BenchmarkConfig
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
    """What one run shares: the terms, the topology, what was answered, the next tag."""

    terms: BenchmarkConfig
    bench: BenchServers
    answered: dict[str, AnsweredCounts] = field(default_factory=dict[str, AnsweredCounts])
    tag: int = 0

    def of(self, shop: Dataset) -> AnsweredCounts:
        return self.answered.setdefault(shop.database, AnsweredCounts())

    async def drive(
        self,
        shop: Dataset,
        instances: Sequence[BenchInstance],
        *,
        seconds: float | None = None,
        leave_out: int = 0,
    ) -> Drive:
        """Drive once, and remember what was answered."""
        self.tag += 1
        kind = BENCHMARKS[self.terms.name].kind
        done = await drive_load(
            self.bench,
            shop,
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
            self.of(shop).add(done.count, in_flight=unknown)
        return done

    async def warm(self, shop: Dataset, instances: Sequence[BenchInstance]) -> None:
        voice.status("Warming up …")
        await self.drive(shop, instances, seconds=min(WARM_S, self.terms.seconds))

    async def bout(self, shop: Dataset, clients: int, seconds: float) -> pgbench.PgbenchRun:
        kind = BENCHMARKS[self.terms.name].kind
        done = await pgbench.pgbench_run(self.bench, shop, kind, clients=clients, seconds=seconds)
        if kind != "lookup":
            self.of(shop).pgbench += done.count
        return done


async def run_benchmark(terms: BenchmarkConfig, commit: str) -> BenchmarkResult:
    """Run a benchmark from nothing to its result."""
    play = {"growth": _growth, "held-card": _held_card}.get(terms.name, _ordinary)
    async with bench_servers(commit) as bench:
        run = BenchmarkRun(terms, bench)
        space_mb = (
            aged_dataset.aged_dataset_space_mb(_cards(terms)) if terms.name == "growth" else 3_000
        )
        await bench.start_postgres(space_mb=space_mb)
        shops, rounds = await play(run)
        rss = bench.peak_rss_mb()
        books = tuple([await check_ledger(bench, shop, run.of(shop)) for shop in shops])
        return BenchmarkResult(
            terms=terms,
            cards=_cards(terms),
            rounds=tuple(rounds),
            books=books,
            peak_rss_mb=rss,
            generator=generator_name(),
            postgres=bench.server.version(),
            commit=commit,
        )


def _cards(terms: BenchmarkConfig) -> int:
    own = BENCHMARKS[terms.name].cards
    hot = terms.name in {"hot-card", "hot-cards"}  # what they are named after is not changed
    return own if hot or terms.cards is None else terms.cards


async def _ordinary(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Pgbench, HTTP, pgbench: what the machine does meanwhile falls on both alike."""
    terms, bench = run.terms, run.bench
    if terms.against is not None:
        pgbench.pgbench_program(bench)
    shop = await make_dataset(bench, cards=_cards(terms))
    await _settle(bench, shop)
    instances = [await bench.start_instance() for _ in range(terms.instances)]
    if terms.balancer:
        instances = [await start_balancer(bench)]  # the one address the load knows
    await run.warm(shop, instances)
    clients = await _clients(run, shop) if terms.against is not None else 0
    rounds: list[Round] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = [await run.bout(shop, clients, terms.seconds)] if clients else []
        done = await run.drive(shop, instances)
        after = [await run.bout(shop, clients, terms.seconds)] if clients else []
        rounds.append(Round(drive=done, pgbench=(*before, *after)))
        _tell(number, rounds[-1])
    return [shop], rounds


async def _clients(run: BenchmarkRun, shop: Dataset) -> int:
    """Let pgbench have the number of connections that suits it better."""
    voice.status("Choosing the number of pgbench's connections …")
    seconds = min(WARM_S, run.terms.seconds)
    numbers = sorted({pgbench.USUAL_CLIENTS, run.terms.connections})
    bouts = [await run.bout(shop, number, seconds) for number in numbers]
    return max(bouts, key=lambda bout: bout.rate).clients


async def _growth(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Few cards and many in two databases of one server, each with instances of its own."""
    terms, bench = run.terms, run.bench
    many = _cards(terms)
    few = min(FEW_CARDS, max(1, many // 2))
    small = await make_dataset(bench, cards=few)
    await bench.add_database(_LARGE)
    large = await aged_dataset.make_aged_dataset(bench, cards=many, database=_LARGE)
    await _settle(bench, small)
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
        rounds.append(Round(drive=done, beside=(before, after)))
        _tell(number, rounds[-1])
    return [small, large], rounds


async def _held_card(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Without, with, without: the shop's last card is locked by a transaction of ours."""
    terms, bench = run.terms, run.bench
    shop = await make_dataset(bench, cards=max(2, _cards(terms)))
    await _settle(bench, shop)
    instances = [await bench.start_instance() for _ in range(terms.instances)]
    await run.warm(shop, instances)
    seconds = min(_HELD_S, terms.seconds)
    rounds: list[Round] = []
    for number in range(1, terms.rounds + 1):
        voice.status(f"Round {number} of {terms.rounds} …")
        before = await run.drive(shop, instances, seconds=seconds, leave_out=1)
        async with _held(run, shop, instances):
            done = await run.drive(shop, instances, seconds=seconds, leave_out=1)
        after = await run.drive(shop, instances, seconds=seconds, leave_out=1)
        rounds.append(Round(drive=done, beside=(before, after)))
        _tell(number, rounds[-1])
    return [shop], rounds


@asynccontextmanager
async def _held(
    run: BenchmarkRun, shop: Dataset, instances: Sequence[BenchInstance]
) -> AsyncGenerator[None]:
    """Hold the last card's lock, with tills that wait for it at every instance."""
    run.tag += 1
    async with locked_card.lock_last_card(run.bench, shop):
        tills = [
            asyncio.ensure_future(
                locked_card.redeem_locked_card(
                    shop, instance, key=f"held-{run.terms.seed}-{run.tag}-{n}-{till}"
                )
            )
            for n, instance in enumerate(instances)
            for till in range(locked_card.TILLS)
        ]
        try:
            await locked_card.wait_for_lock_waiter(run.bench, shop)
            yield
            locked_card.require_waiting(tills)
        except BaseException:
            for till in tills:
                till.cancel()
            raise
    # Free again: whoever waited is served.
    run.of(shop).add(sum(await asyncio.gather(*tills)), in_flight=0)


async def _settle(bench: BenchServers, shop: Dataset) -> None:
    """Statistics and a checkpoint, so that nothing of the seeding falls into the measure."""
    voice.status("Analysing …")
    admin = await bench.admin(shop.database)
    try:
        await admin.execute("vacuum (analyze)")
        await admin.execute("checkpoint")
    finally:
        await admin.close()


def _tell(number: int, round_: Round) -> None:
    drive_, rival = round_.drive, round_.pgbench_rate
    line = f"Round {number}: {drive_.rate:,.0f}/s, p50 {drive_.p50_ms:.1f} ms,"
    line += f" p99 {drive_.p99_ms:.1f} ms, {drive_.failures} failures"
    if rival:
        sides = ", ".join(f"{bout.rate:,.0f}" for bout in round_.pgbench)
        line += f"; pgbench {sides}/s; ratio {drive_.rate / rival:.2f}"
    for side in round_.beside:
        line += f"; beside {side.rate:,.0f}/s, p99 {side.p99_ms:.1f} ms"
    say(line)
