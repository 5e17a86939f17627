"""Process table: start and stop the processes of parts, and save each change of state."""

import asyncio
import time
from dataclasses import replace

from florin.ops.fleet.model import Part
from florin.ops.supervisor import start_stop
from florin.ops.supervisor.launch import StartedProcess, launch_process
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.state_store import FleetStateStore


class ProcessTable:
    """The child processes by the name of their part; it does not watch them.

    Once `hurry` is set, the waits between the signals that stop a process are skipped.
    """

    def __init__(self, state: FleetStateStore, hurry: asyncio.Event) -> None:
        self._state = state
        self._hurry = hurry
        self._started: dict[str, StartedProcess] = {}

    async def start(self, want: PartSpec, *, restarts: int, drained: bool) -> None:
        """Start a part and wait until it serves. Raises PartEnded or OperatorError."""
        part = Part(
            name=want.name,
            role=want.role,
            state="starting",
            release=want.release,
            generation=want.generation,
            drained=drained,
            address=want.address,
            operations=want.operations,
            since=time.time(),
            restarts=restarts,
            wiring=want.wiring,
        )
        self._state.record(part)
        # In a thread: copying a database takes long, and other parts must be watched meanwhile.
        await asyncio.to_thread(want.prepare)
        if want.role_now is not None:
            part = replace(part, role=want.role_now())
            self._state.record(part)
        started = launch_process(self._state.home, want.launch)
        self._started[want.name] = started
        if started.process is not None:
            part = replace(part, pid=started.process.pid, started=started.process.started)
            self._state.record(part)
        await start_stop.wait_until_ready(self._state.home, want, started)
        await want.settle()
        waits = "draining" if restarts else "starting"  # until the balancer admits it
        self._state.record(replace(part, state=waits if drained else "ready"))

    async def abandon(self, want: PartSpec, note: str) -> None:
        """Stop a part whose start failed, and record the reason."""
        await self.stop(want.name)
        part = self._state.fleet.part(want.name)
        if part is not None:
            self._state.record(part.stopped(note))

    async def stop(self, name: str) -> None:
        """Stop a part for good and record it."""
        part = self._state.fleet.part(name)
        if part is None or part.process is None:
            return
        self._state.record(replace(part, state="draining"))
        await self.end_process(part, self._started.pop(name, None), drained=part.drained)
        self._state.record(part.stopped())

    async def end_process(
        self, part: Part, started: StartedProcess | None = None, *, drained: bool = False
    ) -> None:
        """Stop the process of a part; its state is not recorded."""
        assert part.process is not None
        started = started or self._started.get(part.name)
        await start_stop.stop_process(
            part.process, part.role, hurry=self._hurry, started=started, drained=drained
        )

    def replace_process(self, part: Part, started: StartedProcess) -> None:
        """Record that another process of the part serves."""
        self._state.record(part)
        self._started[part.name] = started

    def reap(self, name: str) -> str:
        """Forget an ended process; return how it ended."""
        started = self._started.pop(name, None)
        return started.ending() if started else "exit code unknown: the process was adopted"
