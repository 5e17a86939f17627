"""Bench: measure Florin against pgbench on the same server, then check the ledger."""

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path

import msgspec

from florin.bench.catalog import (
    AUTOSCALE,
    COMPARED,
    DEPLOYS,
    FAILOVER,
    INSTRUMENTATION,
    MUTANTS,
    NAMES,
    PAGES,
    REPLICAS,
    WORK,
    BenchmarkConfig,
)
from florin.bench.harness import check_connections, current_commit, run_measurement
from florin.bench.requests import report
from florin.ops.system.console import OperatorError

_READS = 2_000
_CLIENTS_MAX = 150  # of pgbench: the server takes 200 connections in all


def main(
    name: str,
    against: str | None = None,
    as_json: bool = False,
    *,
    seconds: float = 10,
    connections: int = 64,
    instances: int = 1,
    cards: int | None = None,
    rounds: int = 3,
    seed: int = 1,
    balancer: bool = False,
    rate: float = 200,
    requests: int = 0,
    only: list[str] | None = None,
    jobs: int = 50_000,
    control: bool = False,
) -> int:
    """Serve `florin bench`; return 1 when requests failed or the ledger is wrong."""
    if name == MUTANTS:
        return _mutants(as_json=as_json, only=only or [])
    if name == AUTOSCALE:
        from florin.bench.autoscale import main as autoscale

        return autoscale.main(as_json=as_json, seed=seed)
    if name == PAGES:
        from florin.bench.scenarios import pages

        return pages.main(cards=cards, requests=requests, as_json=as_json)
    if name in {DEPLOYS, REPLICAS, FAILOVER}:
        return _scenario(
            name,
            as_json=as_json,
            instances=max(2, instances),
            connections=connections,
            rate=rate,
            requests=requests,
            rounds=rounds,
            seconds=seconds,
            seed=seed,
            only=only or [],
            control=control,
        )
    if name in WORK:
        from florin.bench.workers import main as work

        return work.main(
            name,
            as_json=as_json,
            jobs=jobs,
            cards=cards,
            rounds=rounds,
            seconds=seconds,
            rate=rate,
            connections=connections,
            seed=seed,
        )
    terms = BenchmarkConfig(
        name=name,
        against=against,
        seconds=seconds,
        connections=connections,
        instances=instances,
        cards=cards,
        rounds=rounds,
        seed=seed,
        balancer=balancer,
    )
    _check(terms)
    # Imported here: `florin bench mutants` needs none of it.
    from florin.bench.requests.runner import run_benchmark

    result = asyncio.run(run_measurement(run_benchmark(terms, current_commit())))
    document = result.document()
    print(msgspec.json.encode(document).decode() if as_json else report.format_report(document))
    return 0 if result.passed else 1


def _scenario(
    name: str,
    *,
    as_json: bool,
    instances: int,
    connections: int,
    rate: float,
    requests: int,
    rounds: int,
    seconds: float,
    seed: int,
    only: list[str],
    control: bool,
) -> int:
    """Run a scenario with several instances or replicas."""
    from florin.bench.scenarios import deploys, failover, replica_reads

    if name == DEPLOYS:
        return deploys.main(
            as_json=as_json,
            instances=instances,
            connections=connections,
            rate=rate,
            requests=requests,
            seconds=seconds,
            seed=seed,
            only=only,
        )
    if name == REPLICAS:
        reads = requests or _READS
        config = replica_reads.ReplicaReadConfig(instances, connections, reads, seed)
        return replica_reads.main(config, as_json=as_json)
    kinds = failover.parse_kinds(only)
    terms = failover.FailoverBenchConfig(instances, connections, rate, rounds, seed, control, kinds)
    return failover.main(terms, as_json=as_json)


def _mutants(*, as_json: bool, only: list[str]) -> int:
    # The mutants quote source text and are part of the tests: only a checkout has them.
    checkout = Path(os.environ.get("FLORIN_CHECKOUT") or Path(__file__).parents[3])
    if not (checkout / "tests" / "mutation").is_dir():
        raise OperatorError(
            "florin bench mutants needs a checkout with its tests; run bin/florin there."
        )
    sys.path.insert(0, str(checkout))
    return int(import_module("tests.mutation.runner").main(as_json=as_json, only=only))


def _check(terms: BenchmarkConfig) -> None:
    if terms.name not in NAMES:
        raise OperatorError(f"Unknown benchmark {terms.name}; use one of {', '.join(NAMES)}.")
    if terms.against is not None and terms.name not in COMPARED:
        raise OperatorError(
            f"{terms.name} takes no --against; --against pgbench is for {', '.join(COMPARED)}."
        )
    check_connections(terms.connections)
    if terms.against is not None and terms.connections > _CLIENTS_MAX:
        raise OperatorError(
            f"--against pgbench takes at most {_CLIENTS_MAX} connections; pass fewer --connections."
        )
    if not 1 <= terms.instances <= 8 or terms.instances > terms.connections:
        raise OperatorError("--instances must be from 1 to 8, and not more than --connections.")
    if terms.balancer and terms.name in {"growth", "held-card", *INSTRUMENTATION}:
        raise OperatorError(f"{terms.name} takes no --balancer; leave it out.")
    if terms.seconds < 1 or terms.rounds < 1 or (terms.cards is not None and terms.cards < 1):
        raise OperatorError("--seconds, --rounds and --cards must be 1 or more.")
