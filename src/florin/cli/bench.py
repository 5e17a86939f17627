"""Bench: the command that runs the benchmarks."""

from typing import Annotated, Literal

import typer

from florin.cli.lazy_import import call
from florin.cli.options import HomeOption, JsonOption, whole_number


def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="redeem, hot-card, hot-cards, batch, balance, growth, held-card, memory;"
            " metrics, access-log, traces; queue, expiry, bulk, deliveries, webhooks, checkout,"
            " beside;"
            " mutants; autoscale; deploys; replicas, failover; pages."
        ),
    ],
    against: Annotated[
        Literal["pgbench"] | None, typer.Option(help="What to compare with.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each part of a round.")] = 10,
    connections: Annotated[int, whole_number(least=1, help="Connections of the load.")] = 64,
    instances: Annotated[int, whole_number(least=1, help="Instances of the API.")] = 1,
    cards: Annotated[
        int | None,
        whole_number(least=1, help="Cards; default: chosen by the benchmark.", show_default=False),
    ] = None,
    rounds: Annotated[
        int, whole_number(least=1, help="Rounds, of which medians are shown; failover: losses.")
    ] = 3,
    seed: Annotated[int, whole_number(help="Seed of the random cards and keys.")] = 1,
    balancer: Annotated[
        bool, typer.Option("--balancer", help="Send the load through HAProxy, as a fleet does.")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=1, help="deploys, beside, failover: requests a second.")
    ] = 200,
    requests: Annotated[
        int,
        whole_number(
            least=0, help="deploys: of each kind, at least; replicas: reads; pages: of each."
        ),
    ] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="deploys, failover: this kind; mutants: names with this in them. Repeatable.",
        ),
    ] = None,
    jobs: Annotated[int, whole_number(least=1, help="queue: no-op jobs of a round.")] = 50_000,
    control: Annotated[
        bool,
        typer.Option("--control", help="failover: also with asynchronous commits."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark on its own servers; print ratios, p50, p99 and where the time went."""
    del home  # a benchmark brings its own topology
    raise typer.Exit(
        call(
            "florin.bench.main",
            name=name,
            against=against,
            as_json=as_json,
            seconds=seconds,
            connections=connections,
            instances=instances,
            cards=cards,
            rounds=rounds,
            seed=seed,
            balancer=balancer,
            rate=rate,
            requests=requests,
            only=only,
            jobs=jobs,
            control=control,
        )
    )
