"""Workers: started, replaced and sent home; whoever goes finishes the jobs it has."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from florin.ops.fleet.model import Part
from florin.ops.planning.rollout import Crew, ObservedProcess, ReleaseMark, RolloutStep
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say

_HOLDS_S = 1.0  # a new one that ends within it does not bear what it finds


class WorkerProcesses:
    """Holds the supervisor that runs them, and the starts and farewells under way."""

    def __init__(self, fleet: Supervisor, make: Callable[[str, ReleaseMark], PartSpec]) -> None:
        self._fleet = fleet
        self._make = make
        self._busy = set[asyncio.Task[None]]()
        self.failed = 0  # starts that came to nothing

    def there(self) -> tuple[Part, ...]:
        """Return those that work, will in a moment, or should: all but those on their way out."""
        return tuple(part for part in self._fleet.fleet.of("worker") if not part.drained)

    def crew(self) -> Crew:
        """Return those whose process runs."""
        return tuple(
            ObservedProcess(
                name=part.name,
                mark=ReleaseMark(part.release, part.generation),
                ready=part.state == "ready",
                admitted=True,
            )
            for part in self.there()
            if part.process is not None
        )

    async def take(self, step: RolloutStep) -> None:
        """Do one step; raises Unable or Died when it did not work out."""
        if step.verb == "stop":
            await asyncio.gather(*(self._stop(name) for name in step.names))
            return
        assert step.mark is not None
        await self._start(step.names, step.mark)

    def grow(self, count: int, mark: ReleaseMark) -> tuple[str, ...]:
        """Start some more, each beside the others; return their names at once."""
        taken = {part.name for part in self._fleet.fleet.of("worker")}
        names = free_names(taken, count)
        for name in names:
            self._fleet.expect(self._make(name, mark))
            self._begin(self._try(name, mark))
        return names

    def shrink(self, names: Iterable[str]) -> None:
        """Send these home: they take nothing more and end with the last of their jobs."""
        for name in names:
            self._fleet.set_drained(name, drained=True)
            self._begin(self._stop(name))

    async def settle(self) -> None:
        """Wait until nobody is on the way in or out."""
        while self._busy:
            await asyncio.wait(self._busy)

    async def halt(self) -> None:
        """Leave what is under way to whoever stops the fleet."""
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    def _begin(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing, name=doing.__qualname__)
        self._busy.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fleet.watchdog.report(task.get_name(), error)  # nobody else waits for it

    async def _try(self, name: str, mark: ReleaseMark) -> None:
        try:
            await self._fleet.start(self._make(name, mark))
        except Exception as error:
            self.failed += 1
            self._fleet.forget(name)
            if not isinstance(error, PartEnded | OperatorError):
                raise
            say(f"{error}")

    async def _start(self, names: tuple[str, ...], mark: ReleaseMark) -> None:
        wanted = [self._make(name, mark) for name in names]
        await self._fleet.start_all(wanted, hold_s=_HOLDS_S)
        for name in names:
            part = self._fleet.fleet.part(name)
            if part is None or part.process is None or part.restarts:
                raise PartEnded(f"{name} ended soon after it began to work")

    async def _stop(self, name: str) -> None:
        self._fleet.set_drained(name, drained=True)
        await self._fleet.stop(name)
        self._fleet.forget(name)


def free_names(taken: Iterable[str], count: int) -> tuple[str, ...]:
    """Return the lowest names that nobody has."""
    known = set(taken)
    names = (f"worker-{number}" for number in range(1, len(known) + count + 1))
    return tuple(name for name in names if name not in known)[:count]
