"""Demo: the commands that run a demo on a fleet and create its merchant."""

from functools import partial
from typing import Annotated

import typer

from florin.cli.lazy_import import call
from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.system.console import OperatorError


def demo(
    load: Annotated[bool, typer.Option("--load", help="Run a load until Ctrl-C.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="--load: duration; default: until Ctrl-C.")
    ] = None,
    year: Annotated[
        bool,
        typer.Option("--year", help="Fill a test merchant of its own with a year, by its clock."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sell, redeem, hold and refund on the running fleet; print the ledger balances."""
    from florin.ops.diagnostics import resource_usage
    from florin.ops.fleet import welcome
    from florin.ops.haproxy import frontend

    chosen = home_of(home)
    bases = frontend.base_urls(chosen)
    found = welcome.read_demo(chosen)
    if not bases:
        raise OperatorError(f"Nothing runs from {chosen.path}; florin up starts it.")
    if year:
        raise typer.Exit(call("florin.demo.year", base=bases[0], as_json=as_json))
    if found is None:
        raise OperatorError(
            f"{chosen.path} has no demo merchant; FLORIN_ENV=development florin up creates one."
        )
    if load:
        raise typer.Exit(
            call(
                "florin.demo.load",
                bases=bases,
                api_key=found.api_key,
                program=found.program,
                look=partial(resource_usage.read_resource_usage, chosen),
                minutes=minutes,
                as_json=as_json,
            )
        )
    raise typer.Exit(
        call(
            "florin.demo.walkthrough",
            base=bases[0],
            api_key=found.api_key,
            program=found.program,
            as_json=as_json,
        )
    )


def demo_merchant(
    only_print: Annotated[
        bool,
        typer.Option("--print", help="Create a new one and store nothing in the home directory."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create the demo merchant if it is missing; print its program and key."""
    raise typer.Exit(call("florin.demo.merchant", as_json=as_json, stored=not only_print))


def gate() -> None:
    """Check a deployment with a test merchant: orders on stdin, from the supervisor."""
    raise typer.Exit(call("florin.gate.main"))
