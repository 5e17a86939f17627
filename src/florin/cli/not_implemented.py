"""Not implemented: commands whose part is not there yet. They take what they will take, and say
so.
"""

from typing import Annotated, Literal

import typer

from florin.cli.options import HomeOption, JsonOption
from florin.ops.system.console import OperatorError


def _not_yet(what: str, instead: str) -> None:
    raise OperatorError(f"{what} is not part of this release yet; {instead}.")


def alerts(verb: Annotated[Literal["test"], typer.Argument()], home: HomeOption = None) -> None:
    """Send one alert to each receiver."""
    del verb, home
    _not_yet("Alerting", "watch florin status")


def gameday(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Break each part in turn and report how it recovered."""
    del home, as_json
    _not_yet("The game day", "kill a part by hand and watch florin status --watch")


COMMANDS = (
    ("alerts", alerts, "florin alerts test"),
    ("gameday", gameday, "florin gameday"),
)
