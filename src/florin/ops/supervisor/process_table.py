"""Process table: start and stop parts, and save each change of state."""

import asyncio
import time
from dataclasses import replace

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.supervisor import start_stop
from florin.ops.supervisor.launch import StartedProcess, launch_process
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.state_store import FleetStateStore


class ProcessTable(FleetStateStore):
    """Starts and stops the parts of a fleet; it does not watch them."""

    def __init__(self, home: Home, release: str) -> None:
        super().__init__(home, release)
        self.hurry = asyncio.Event()
        self._started: dict[str, StartedProcess] = {}

    async def _start(self, want: PartSpec, *, restarts: int, drained: bool) -> None:
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
        self.record(part)
        # In a thread: copying a database takes long, and other parts must be watched meanwhile.
        await asyncio.to_thread(want.prepare)
        if want.role_now is not None:
            part = replace(part, role=want.role_now())
            self.record(part)
        started = launch_process(self.home, want.launch)
        self._started[want.name] = started
        if started.process is not None:
            part = replace(part, pid=started.process.pid, started=started.process.started)
            self.record(part)
        await start_stop.wait_until_ready(self.home, want, started)
        await want.settle()
        waits = "draining" if restarts else "starting"  # until the balancer admits it
        self.record(replace(part, state=waits if drained else "ready"))

    async def _abandon(self, want: PartSpec, note: str) -> None:
        """Stop a part whose start failed, and record the reason."""
        await self._end(want.name)
        part = self.fleet.part(want.name)
        if part is not None:
            self.record(part.stopped(note))

    async def _end(self, name: str) -> None:
        part = self.fleet.part(name)
        if part is None or part.process is None:
            return
        self.record(replace(part, state="draining"))
        started = self._started.pop(name, None)
        await start_stop.stop_process(
            part.process, part.role, hurry=self.hurry, started=started, drained=part.drained
        )
        self.record(part.stopped())
