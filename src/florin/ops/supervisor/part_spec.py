"""Part spec: what should run, as a value; and what to do so that it does, as a plan."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from florin.ops.fleet.model import Fleet, Role
from florin.ops.supervisor.launch import Launch


async def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class HotSwap:
    """How a part's next process starts beside the one that runs; see `relief`."""

    launch: Callable[[int], Launch]  # given the number of the one that runs
    answers: Callable[[int], Awaitable[bool]]  # whether it is the process of this number that does


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """One part that should run."""

    name: str
    role: Role
    address: str
    operations: str | None = None  # where it shows its metrics
    release: str
    generation: int = 0  # of which deployment of the release
    launch: Launch
    ready: Callable[[], Awaitable[bool]]
    ready_within_s: float
    # Whether its loop still turns, whatever it depends on; what does not answer for long is ended.
    alive: Callable[[], Awaitable[bool]] | None = None
    wiring: str = ""
    together: str = ""  # those of one word in a row start beside each other
    # Before each start: makes what it needs, or raises Unable when only a human can help.
    prepare: Callable[[], None] = lambda: None
    # What it turned out to be, once it is prepared: another one may have taken its role meanwhile.
    role_now: Callable[[], Role] | None = None
    # After each start, once it serves and before others may rely on it.
    settle: Callable[[], Awaitable[None]] = _nothing
    relief: HotSwap | None = None  # None: the one that runs is stopped first


@dataclass(frozen=True, slots=True)
class PartStep:
    verb: Literal["start", "adopt", "replace", "stop"]
    name: str


def plan_parts(fleet: Fleet, wanted: tuple[PartSpec, ...]) -> tuple[PartStep, ...]:
    """Return what makes the fleet as it is the fleet as wanted, in order.

    What runs and fits is adopted untouched. A part started against other engines than it would
    get today is replaced. What nobody wants any more stops last.
    """
    steps: list[PartStep] = []
    for want in wanted:
        part = fleet.part(want.name)
        if part is None or part.process is None:
            steps.append(PartStep("start", want.name))
        elif part.wiring != want.wiring:
            steps.append(PartStep("replace", want.name))
        else:
            steps.append(PartStep("adopt", want.name))
    names = {want.name for want in wanted} | {"supervisor"}
    leftover = [part.name for part in fleet.parts if part.name not in names and part.process]
    return (*steps, *(PartStep("stop", name) for name in reversed(leftover)))
