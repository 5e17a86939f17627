"""Workers: start, replace and stop them; a worker that stops finishes its jobs first."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from florin.ops.fleet.model import Part
from florin.ops.planning.rollout import Crew, ObservedProcess, ReleaseMark, RolloutStep
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say

_HOLDS_S = 1.0  # a new worker that ends within this time has failed to start


class WorkerProcesses:
    """The workers of the fleet, and the tasks that start and stop them in the background."""

    def __init__(self, fleet: Supervisor, make: Callable[[str, ReleaseMark], PartSpec]) -> None:
        self._fleet = fleet
        self._make = make
        self._busy = set[asyncio.Task[None]]()
        self.failed = 0  # starts that failed

    def there(self) -> tuple[Part, ...]:
        """Return the workers that run, start or should run: all except those that are stopping."""
        return tuple(part for part in self._fleet.fleet.of("worker") if not part.drained)

    def crew(self) -> Crew:
        """Return the workers whose process runs."""
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
        """Carry out one step. Raises OperatorError or PartEnded when it fails."""
        if step.verb == "stop":
            await asyncio.gather(*(self._stop(name) for name in step.names))
            return
        assert step.mark is not None
        await self._start(step.names, step.mark)

    def grow(self, count: int, mark: ReleaseMark) -> tuple[str, ...]:
        """Start `count` more workers in the background; return their names at once."""
        taken = {part.name for part in self._fleet.fleet.of("worker")}
        names = free_names(taken, count)
        for name in names:
            self._fleet.state.expect(self._make(name, mark))
            self._begin(self._try(name, mark))
        return names

    def shrink(self, names: Iterable[str]) -> None:
        """Stop workers in the background: they claim no more jobs and end after their last one."""
        for name in names:
            self._fleet.state.set_drained(name, drained=True)
            self._begin(self._stop(name))

    async def settle(self) -> None:
        """Wait until no worker is starting or stopping."""
        while self._busy:
            await asyncio.wait(self._busy)

    async def halt(self) -> None:
        """Cancel the background tasks; the caller stops the fleet."""
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
            self._fleet.watchdog.report(task.get_name(), error)  # no caller awaits the task

    async def _try(self, name: str, mark: ReleaseMark) -> None:
        try:
            await self._fleet.start(self._make(name, mark))
        except Exception as error:
            self.failed += 1
            self._fleet.state.forget(name)
            if not isinstance(error, PartEnded | OperatorError):
                raise
            say(f"{error}")

    async def _start(self, names: tuple[str, ...], mark: ReleaseMark) -> None:
        wanted = [self._make(name, mark) for name in names]
        await self._fleet.start_all(wanted, hold_s=_HOLDS_S)
        for name in names:
            part = self._fleet.fleet.part(name)
            if part is None or part.process is None or part.restarts:
                raise PartEnded(f"{name} ended soon after its start")

    async def _stop(self, name: str) -> None:
        self._fleet.state.set_drained(name, drained=True)
        await self._fleet.stop(name)
        self._fleet.state.forget(name)


def free_names(taken: Iterable[str], count: int) -> tuple[str, ...]:
    """Return the lowest `count` names that are not taken."""
    known = set(taken)
    names = (f"worker-{number}" for number in range(1, len(known) + count + 1))
    return tuple(name for name in names if name not in known)[:count]
