"""Later: commands whose part is not there yet. They take what they will take, and say so."""

from typing import Annotated, Literal

import typer

from florin.cli.options import HomeOption, JsonOption
from florin.ops.tell import Unable

_Instant = Annotated[str, typer.Option("--at", metavar="TIME", help="An instant, RFC 3339.")]


def _not_yet(what: str, instead: str) -> None:
    raise Unable(f"{what} is not part of this release yet; {instead}.")


def backup(home: HomeOption = None) -> None:
    """Take a base backup."""
    del home
    _not_yet("Backing up", "pg_basebackup works with the URL that florin doctor db shows")


def restore(at: _Instant, home: HomeOption = None) -> None:
    """Restore the database as it was at an instant."""
    del at, home
    _not_yet("Restoring", "there are no backups of florin's to restore")


def alerts(verb: Annotated[Literal["test"], typer.Argument()], home: HomeOption = None) -> None:
    """Send one alert to each receiver."""
    del verb, home
    _not_yet("Alerting", "watch florin status")


def gameday(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Break each part in turn and report how it recovered."""
    del home, as_json
    _not_yet("The game day", "kill a part by hand and watch florin status --watch")


COMMANDS = (
    ("backup", backup, "florin backup"),
    ("restore", restore, "florin restore --at 2030-01-01T12:00:00Z"),
    ("alerts", alerts, "florin alerts test"),
    ("gameday", gameday, "florin gameday"),
)
