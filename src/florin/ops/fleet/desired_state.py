"""Desired state: the last state of the fleet that the operator requested and that was reached.

It is stored in the home, next to the data, so that it survives restarts.
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
    workers: int | None = None  # None: scaled with the queues
    replicas: int = 1  # of PostgreSQL, in addition to its primary
    valkey: Kind = "single"
    algorithm: str = "roundrobin"
    tls: tuple[str, str] | None = None  # the files of certificate and key
    release: str = ""
    generation: int = 0  # counts deployments; never used twice
    previous: str = ""  # the release for florin rollback
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
