"""Model: the state of a fleet's parts, as it is stored in the home."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, get_args

import msgspec

from florin.ops.system.processes import ProcessId

Algorithm = Literal["roundrobin", "leastconn", "iphash"]


ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


Role = Literal[
    "supervisor",
    "balancer",
    "api",
    "worker",
    "operator",
    "mailbox",
    "postgres-primary",
    "postgres-replica",
    "valkey-primary",
    "valkey-replica",
    "sentinel",
]
Kind = Literal["single", "sentinel", "cluster"]  # of Valkey
State = Literal["starting", "ready", "draining", "standby", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part as it was last observed. `pid` is that of the serving process itself."""

    name: str
    role: Role
    state: State
    release: str
    address: str | None = None
    operations: str | None = None  # where it shows its metrics and health
    pid: int | None = None
    started: str | None = None
    since: float = 0.0
    generation: int = 0  # of which deployment of its release
    drained: bool = False  # the balancer sends it nothing
    restarts: int = 0
    wiring: str = ""  # hash of the settings it was started with; a part with another is replaced
    note: str = ""
    given: bool = False  # a server named by DATABASE_URL or REDIS_URL: never started or stopped

    @property
    def process(self) -> ProcessId | None:
        if self.pid is None or self.started is None:
            return None
        return ProcessId(self.pid, self.started)

    @property
    def metrics_address(self) -> str | None:
        """The address of its metrics; older releases serve them on the main address."""
        return self.operations or self.address

    def stopped(self, note: str = "") -> "Part":
        return replace(self, state="stopped", pid=None, started=None, since=time.time(), note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All parts of one home, in the order in which they start."""

    parts: tuple[Part, ...] = ()

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)

    def of(self, role: Role) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.role == role)

    def having(self, part: Part) -> "Fleet":
        """Return the fleet with this part replacing the one of the same name, else appended."""
        if self.part(part.name) is None:
            return Fleet(parts=(*self.parts, part))
        return Fleet(parts=tuple(part if old.name == part.name else old for old in self.parts))

    def without(self, names: Iterable[str]) -> "Fleet":
        dropped = set(names)
        return Fleet(parts=tuple(part for part in self.parts if part.name not in dropped))


def encode_fleet(fleet: Fleet) -> bytes:
    return msgspec.json.format(msgspec.json.encode(fleet), indent=2)


class _StoredParts(msgspec.Struct):
    parts: list[msgspec.Raw] = []


def decode_fleet(text: bytes) -> Fleet:
    """Decode what was stored. A part that cannot be read is left out, such as one whose role only a
    newer release knows: the others are there, so that a release that is undone keeps its fleet.

    Raises msgspec.DecodeError if it is no fleet at all.
    """
    parts: list[Part] = []
    for stored in msgspec.json.decode(text, type=_StoredParts).parts:
        with suppress(msgspec.ValidationError):
            parts.append(msgspec.json.decode(stored, type=Part))
    return Fleet(parts=tuple(parts))
