"""Options: what many commands take alike."""

import os
from pathlib import Path
from typing import Annotated

import typer

from florin.ops.fleet.home import Home, locate_home

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where the fleet lives; else FLORIN_HOME, else .florin.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print what would be done, and stop.")]

_chosen: list[Path] = []


def remember(home: Path | None) -> None:
    """Keep a --home that stood before the command."""
    _chosen.clear()
    if home is not None:
        _chosen.append(home)


def home_of(option: Path | None) -> Home:
    return locate_home(option or (_chosen[0] if _chosen else None), os.environ)
