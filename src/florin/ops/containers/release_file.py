"""Release file: which image and how many instances each colour has, in the `.env` of the project.

Compose reads the same file, so `docker compose up -d` at any time starts what was deployed.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from florin.ops.fleet.desired_state import Colour
from florin.ops.fleet.home import write_file
from florin.ops.haproxy.discovery import COLOUR_KEY, render_colour_map
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.system.console import OperatorError

COLOURS: tuple[Colour, Colour] = ("blue", "green")
IMAGE, PREVIOUS, GENERATION = "FLORIN_IMAGE", "FLORIN_PREVIOUS_IMAGE", "FLORIN_GENERATION"
_LINE = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_IMAGE_DEFAULT, _INSTANCES_DEFAULT = "florin:1", {"blue": "2", "green": "0"}


def _own() -> frozenset[str]:
    own = {IMAGE, PREVIOUS, GENERATION}
    for colour in COLOURS:
        name = f"FLORIN_{colour.upper()}"
        own |= {name, f"{name}_IMAGE", f"{name}_GENERATION"}
    return frozenset(own)


OWN = _own()  # the variables that deployments write


@dataclass(slots=True)
class ReleaseFile:
    """The variables of deployments in `.env`; other lines of the file stay as they are."""

    path: Path
    values: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, project: Path) -> "ReleaseFile":
        details = cls(project / ".env")
        for line in details._lines():
            if (known := _LINE.match(line)) and known[1] in OWN:
                details.values[known[1]] = known[2].strip().strip("'\"")
        return details

    @property
    def image(self) -> str:
        return self.values.get(IMAGE) or _IMAGE_DEFAULT

    @property
    def previous(self) -> str | None:
        return self.values.get(PREVIOUS) or None

    @property
    def generation(self) -> int:
        """The number of deployments so far."""
        return int(self.values.get(GENERATION) or 0)

    def mark(self, colour: Colour) -> ReleaseMark:
        name = f"FLORIN_{colour.upper()}"
        generation = int(self.values.get(f"{name}_GENERATION") or 0)
        return ReleaseMark(self.values.get(f"{name}_IMAGE") or self.image, generation)

    def instances(self, colour: Colour) -> int:
        name = f"FLORIN_{colour.upper()}"
        return int(self.values.get(name) or _INSTANCES_DEFAULT[colour])

    def put_colour(self, colour: Colour, mark: ReleaseMark, instances: int) -> None:
        name = f"FLORIN_{colour.upper()}"
        self.values[f"{name}_IMAGE"] = mark.release
        self.values[f"{name}_GENERATION"] = str(mark.generation)
        self.values[name] = str(instances)

    def write(self) -> None:
        """Replace the file in one step."""
        kept = [
            line for line in self._lines() if not ((m := _LINE.match(line)) and m[1] in self.values)
        ]
        own = [f"{name}={value}" for name, value in sorted(self.values.items())]
        write_file(self.path, ("\n".join([*kept, *own]) + "\n").encode())

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []


def read_colour(project: Path) -> Colour:
    """Return the colour that serves. Raises OperatorError without the balancer's file."""
    path = project / "live" / "colour.map"
    try:
        words = path.read_text("utf-8").split()
    except OSError:
        raise OperatorError(f"{path} is missing; run deploy/secrets.sh.") from None
    for colour in COLOURS:
        if words == [COLOUR_KEY, colour]:
            return colour
    raise OperatorError(f"{path} names no colour; its line must be: {COLOUR_KEY} blue (or green).")


def write_colour(project: Path, colour: Colour) -> None:
    path = project / "live" / "colour.map"
    partial = path.with_suffix(".new")
    partial.write_text(render_colour_map(colour), "utf-8")
    partial.chmod(0o644)  # the balancer's user reads it
    os.replace(partial, path)  # noqa: PTH105 -- in one step
