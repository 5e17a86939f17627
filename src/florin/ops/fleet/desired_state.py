"""Desired state: the last state of the fleet that the operator requested and that was reached.

It is stored in the home, next to the data, so that it survives restarts.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.fleet.model import Kind
from florin.ops.planning.rollout import ReleaseMark

Colour = Literal["blue", "green"]  # of a set of instances; a name shows its colour
_STEMS: dict[Colour, str] = {"blue": "api", "green": "api-green"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbySet:
    """The instances that served before a blue-green switch: they run on without requests.

    `until` is the time, in seconds since the epoch, at which they are removed.
    """

    release: str
    marks: dict[str, ReleaseMark]
    until: float

    @property
    def colour(self) -> Colour:
        return colour_of(next(iter(self.marks)))

    def describe(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.until))
        return f"{', '.join(self.marks)} ({self.release}), kept until {clock}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    api: int = 2
    workers: int | None = None  # None: scaled with the queues
    replicas: int = 1  # of PostgreSQL, in addition to its primary
    valkey: Kind = "single"
    algorithm: str = "roundrobin"
    tls: tuple[str, str] | None = None  # the files of certificate and key
    release: str = ""
    generation: int = 0  # counts deployments; never used twice
    previous: str = ""  # the release for florin rollback
    colour: Colour = "blue"  # of the instances that serve
    standby: StandbySet | None = None  # the other colour, after a blue-green switch
    # Instances that an operator drained, with their generation: a successor is not drained.
    drained: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def mark(self) -> ReleaseMark:
        return ReleaseMark(self.release, self.generation)


def load_desired_state(home: Home) -> DesiredState:
    try:
        return msgspec.json.decode((home.path / "intent.json").read_bytes(), type=DesiredState)
    except (OSError, msgspec.DecodeError):
        return DesiredState()


def save_desired_state(home: Home, intent: DesiredState) -> None:
    write_file(home.path / "intent.json", msgspec.json.encode(intent))


def part_names(count: int, stem: str = "api") -> tuple[str, ...]:
    return tuple(f"{stem}-{number}" for number in range(1, count + 1))


def instance_names(count: int, colour: Colour) -> tuple[str, ...]:
    """Return the names of the first `count` instances of a colour."""
    return part_names(count, _STEMS[colour])


def colour_of(name: str) -> Colour:
    """Return the colour of an instance."""
    return "green" if name.startswith(f"{_STEMS['green']}-") else "blue"


def other_colour(colour: Colour) -> Colour:
    return "blue" if colour == "green" else "green"


def is_worker(name: str) -> bool:
    """Return whether the name is that of a worker."""
    return name.startswith("worker-")


def worker_marks(
    marks: Mapping[str, ReleaseMark], mark: ReleaseMark, count: int | None
) -> dict[str, ReleaseMark]:
    """Return `count` workers: existing ones first, then new ones. None: the existing ones."""
    there = [name for name in marks if is_worker(name)]
    if count is None:
        return {name: marks[name] for name in there}
    kept = there[:count]
    free = [name for name in part_names(len(there) + count, "worker") if name not in there]
    added = free[: count - len(kept)]
    return {name: marks.get(name, mark) for name in (*kept, *added)}
