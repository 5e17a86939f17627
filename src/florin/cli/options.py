"""Options: the options that several commands share, and the type of whole numbers."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from florin.ops.fleet.home import Home, locate_home

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The fleet's home directory; default FLORIN_HOME, else .florin.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print the steps without doing them.")]

_chosen: list[Path] = []


def remember(home: Path | None) -> None:
    """Store a --home that was given before the command."""
    _chosen.clear()
    if home is not None:
        _chosen.append(home)


def home_of(option: Path | None) -> Home:
    return locate_home(option or (_chosen[0] if _chosen else None), os.environ)


def whole_number(
    *names: str,
    least: int | None = None,
    most: int | None = None,
    metavar: str = "N",
    **option: Any,
) -> Any:
    """An option that takes a whole number in decimal digits from `least` to `most`.

    The parser of typer also accepts 2.0, 1_0, blanks and digits of other scripts.
    """
    limits = f" from {least}" if least is not None else ""
    limits += f" to {most}" if most is not None else ""

    def parse(value: str | int) -> int:
        text = str(value)
        number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
        if (
            number is None
            or (least is not None and number < least)
            or (most is not None and number > most)
        ):
            raise ValueError(f"must be a whole number{limits}, not {text!r}")
        return number

    return typer.Option(*names, parser=parse, min=least, max=most, metavar=metavar, **option)
