"""Desired state: what the operator last asked for and got. Kept beside the data, so that it
survives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.fleet.model import Kind
from florin.ops.planning.rollout import ReleaseMark


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    api: int = 2
    workers: int | None = None  # None: as many as the work needs
    replicas: int = 1  # of PostgreSQL, beside its primary
    valkey: Kind = "single"
    algorithm: str = "roundrobin"
    tls: tuple[str, str] | None = None  # the files of certificate and key
    release: str = ""
    generation: int = 0  # counts deployments; never used twice
    previous: str = ""  # where florin rollback goes
    # Instances an operator took out, with the generation they are of: a successor is another one.
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


def is_worker(name: str) -> bool:
    """Say whether that is the name of a worker."""
    return name.startswith("worker-")


def worker_marks(
    marks: Mapping[str, ReleaseMark], mark: ReleaseMark, count: int | None
) -> dict[str, ReleaseMark]:
    """Return so many workers: those there are first, then new ones. None: those there are."""
    there = [name for name in marks if is_worker(name)]
    if count is None:
        return {name: marks[name] for name in there}
    kept = there[:count]
    free = [name for name in part_names(len(there) + count, "worker") if name not in there]
    added = free[: count - len(kept)]
    return {name: marks.get(name, mark) for name in (*kept, *added)}
