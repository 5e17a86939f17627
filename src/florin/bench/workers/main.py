"""Main: benchmarks of workers, compared with minimal SQL for the same rows, or another queue."""

import asyncio
from importlib import import_module

import msgspec

from florin.bench.environment.servers import bench_servers
from florin.bench.harness import check_connections, current_commit, run_measurement
from florin.bench.workers import report
from florin.bench.workers.catalog import BENCHMARKS, WorkerBenchConfig
from florin.bench.workers.result import WorkerBenchResult
from florin.ops.system.console import OperatorError

_MODULES = {"beside": "interference"}  # where module and benchmark have different names


def main(
    name: str,
    *,
    as_json: bool,
    jobs: int,
    cards: int | None,
    rounds: int,
    seconds: float,
    rate: float,
    connections: int,
    seed: int,
) -> int:
    """Serve a worker benchmark; return 1 when its result is lost, doubled or unbalanced."""
    if min(jobs, rounds) < 1 or (cards is not None and cards < 1):
        raise OperatorError("--jobs, --cards and --rounds must be 1 or more.")
    check_connections(connections)
    terms = WorkerBenchConfig(
        name=name,
        jobs=jobs,
        cards=cards or BENCHMARKS[name].cards,
        rounds=rounds,
        seconds=seconds,
        rate=rate,
        connections=connections,
        seed=seed,
    )
    found = asyncio.run(run_measurement(_contest(terms, current_commit())))
    document = found.document()
    print(msgspec.json.encode(document).decode() if as_json else report.text(document))
    return 0 if found.right else 1


async def _contest(terms: WorkerBenchConfig, release: str) -> WorkerBenchResult:
    module = _MODULES.get(terms.name, terms.name)
    play = import_module(f"florin.bench.workers.{module}")
    async with bench_servers(release) as bench:
        await bench.start_postgres(space_mb=play.space_mb(terms))
        rounds, wrong, notes = await play.contest(bench, terms)
        return WorkerBenchResult(
            terms=terms,
            rounds=rounds,
            wrong=wrong,
            notes=notes,
            postgres=bench.server.version(),
            commit=release,
        )
