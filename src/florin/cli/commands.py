"""Commands: the list of all commands of `florin`."""

from typing import Annotated

import typer

import florin
from florin.cli import (
    alerts,
    audit,
    backups,
    fleet,
    logs,
    merchants,
    operate,
    options,
    processes,
    queues,
    quotas,
)
from florin.cli.options import HomeOption

app = typer.Typer(
    name="florin",
    help="Florin: gift cards, exact to the cent. Start with: florin up",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"florin {florin.__version__}")
        raise typer.Exit


@app.callback()
def _before(
    home: HomeOption = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version
    options.remember(home)


_PAGES = (
    fleet.COMMANDS,
    operate.COMMANDS,
    audit.COMMANDS,
    logs.COMMANDS,
    processes.COMMANDS,
    queues.COMMANDS,
    quotas.COMMANDS,
    backups.COMMANDS,
    merchants.COMMANDS,
    alerts.COMMANDS,
)
for name, command, example in (line for page in _PAGES for line in page):
    app.command(name, epilog=f"Example: {example}")(command)
for name, command in processes.HIDDEN:
    app.command(name, hidden=True)(command)
