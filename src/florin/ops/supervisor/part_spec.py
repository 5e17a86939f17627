"""Part spec: the wanted parts as values, and the plan that makes them run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from florin.ops.fleet.model import Fleet, Role
from florin.ops.supervisor.launch import Launch


async def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class HotSwap:
    """How a part's next process starts while the current one runs; see `PartSpec.relief`."""

    launch: Callable[[int], Launch]  # called with the pid of the current process
    answers: Callable[[int], Awaitable[bool]]  # whether the process with this pid answers now


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """One part that should run."""

    name: str
    role: Role
    address: str
    operations: str | None = None  # the address of its metrics
    release: str
    generation: int = 0  # of which deployment of the release
    launch: Launch
    ready: Callable[[], Awaitable[bool]]
    ready_within_s: float
    # Liveness, independent of what the part depends on; an unresponsive part is killed.
    alive: Callable[[], Awaitable[bool]] | None = None
    wiring: str = ""
    together: str = ""  # successive parts with the same value start at the same time
    # Called before each start: makes what it needs. Raises OperatorError when only an operator can
    # help.
    prepare: Callable[[], None] = lambda: None
    # Its role after `prepare`: another part may have taken the role in the meantime.
    role_now: Callable[[], Role] | None = None
    # Called after each start, once it serves and before other parts may depend on it.
    settle: Callable[[], Awaitable[None]] = _nothing
    relief: HotSwap | None = None  # None: the current process is stopped first


@dataclass(frozen=True, slots=True)
class PartStep:
    verb: Literal["start", "adopt", "replace", "stop"]
    name: str


def plan_parts(fleet: Fleet, wanted: tuple[PartSpec, ...]) -> tuple[PartStep, ...]:
    """Return the steps from the current to the wanted fleet, in order.

    A running part that matches is adopted without a restart. A part that was started with other
    engines or settings is replaced. Parts that are no longer wanted stop last.
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
