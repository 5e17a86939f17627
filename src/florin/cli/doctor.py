"""Doctor: the command that checks the fleet and its environment."""

import os
from typing import Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of


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
    """Check settings, engines, ports, disk and connections; print what to do about failures."""
    import asyncio

    from florin.ops.diagnostics import doctor as checks

    if show is not None:
        from florin.kit.settings import reference

        print(reference.render_reference(show), end="")
        return
    found = asyncio.run(checks.run_checks(home_of(home), dict(os.environ), topic))
    if as_json:
        print(msgspec.json.encode({"checks": found}).decode())
    else:
        print(checks.format_checks(found))
    raise typer.Exit(1 if any(check.result == "fail" for check in found) else 0)
