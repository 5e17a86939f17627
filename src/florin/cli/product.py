"""Product: commands that run one process of Florin, or look at it."""

import os
from functools import partial
from typing import Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, PlanOption, home_of
from florin.cli.parts import call, run_api
from florin.ops.home import Home
from florin.ops.tell import Unable


def api() -> None:
    """Serve the API as one process, configured by the environment only."""
    raise typer.Exit(run_api())


def migrate(plan: PlanOption = False, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Bring the database to the schema of this release: expand first, contract later."""
    know_engines(home_of(home))
    raise typer.Exit(call("florin.kit.migrate", only_plan=plan, as_json=as_json))


def demo(
    load: Annotated[bool, typer.Option("--load", help="Go on until Ctrl-C.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="--load: how long; else until Ctrl-C.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sell, redeem, hold, refund on the running fleet; print the books."""
    from florin.ops import door, footprint, welcome

    chosen = home_of(home)
    bases = door.entrances(chosen)
    found = welcome.read(chosen)
    if not bases:
        raise Unable(f"Nothing runs from {chosen.path}; florin up starts it.")
    if found is None:
        raise Unable(f"{chosen.path} has no demo merchant; FLORIN_ENV=development florin up does.")
    if load:
        raise typer.Exit(
            call(
                "florin.demo_load",
                bases=bases,
                api_key=found.api_key,
                program=found.program,
                look=partial(footprint.take, chosen),
                minutes=minutes,
                as_json=as_json,
            )
        )
    raise typer.Exit(
        call(
            "florin.demo",
            base=bases[0],
            api_key=found.api_key,
            program=found.program,
            as_json=as_json,
        )
    )


def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="redeem, hot-card, hot-cards, batch, balance, growth, held-card, memory; queue,"
            " expiry, bulk, beside; mutants; autoscale; deploys; replicas, failover."
        ),
    ],
    against: Annotated[
        Literal["pgbench"] | None, typer.Option(help="What to compare with.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long each part of a round is.")] = 10,
    connections: Annotated[int, typer.Option(min=1, help="Connections of the load.")] = 64,
    instances: Annotated[int, typer.Option(min=1, help="Instances of the API.")] = 1,
    cards: Annotated[
        int | None, typer.Option(min=1, help="Cards; else as many as suit it.", show_default=False)
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="The figures are medians of these; failover: losses.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Which cards and keys are drawn.")] = 1,
    balancer: Annotated[
        bool, typer.Option("--balancer", help="Send the load through HAProxy, as a fleet does.")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=1, help="deploys, beside, failover: requests a second.")
    ] = 200,
    requests: Annotated[
        int, typer.Option(min=0, help="deploys: of each kind, at least; replicas: reads.")
    ] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="deploys, failover: this kind; mutants: names with this in them. Repeatable.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="queue: no-op jobs of a round.")] = 50_000,
    control: Annotated[
        bool, typer.Option("--control", help="failover: also where commits wait for no replica.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure: ratios, p50, p99, and where the time went. Brings its own servers and no traces."""
    del home  # a benchmark brings its own topology
    raise typer.Exit(
        call(
            "florin.bench",
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


def doctor(
    topic: Annotated[
        Literal["db", "config", "fleet"] | None, typer.Argument(help="Only these checks.")
    ] = None,
    show: Annotated[
        Literal["example", "page"] | None,
        typer.Option(help="With config: print .env.example, or the page of the settings."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, engines, ports, disk and connections; say what to do about each."""
    import asyncio

    from florin.ops import doctor as checks

    if show is not None:
        from florin.kit.settings import document

        print(document.shown(show), end="")
        return
    found = asyncio.run(checks.examine(home_of(home), dict(os.environ), topic))
    if as_json:
        print(msgspec.json.encode({"checks": found}).decode())
    else:
        print(checks.text(found))
    raise typer.Exit(1 if any(check.result == "fail" for check in found) else 0)


def demo_merchant(as_json: JsonOption = False) -> None:
    """Make sure of the demo merchant; print its program and key."""
    raise typer.Exit(call("florin.demo_merchant", as_json=as_json))


def know_engines(home: Home) -> None:
    """Name the home's own database to a command that was given none."""
    from florin.ops.topology import running_urls

    names = ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER", "DATABASE_URL_FILE")
    if not any(os.environ.get(name) for name in names):
        os.environ.update(running_urls(home))


COMMANDS = (
    ("api", api, "DATABASE_URL=postgresql://… florin api"),
    ("migrate", migrate, "florin migrate --plan"),
    ("demo", demo, "florin demo"),
    ("bench", bench, "florin bench redeem --against pgbench"),
    ("doctor", doctor, "florin doctor db"),
)
HIDDEN = (("demo-merchant", demo_merchant),)
