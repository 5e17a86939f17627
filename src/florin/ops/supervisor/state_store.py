"""State store: the state of the fleet, saved at every change for the next supervisor."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say


class FleetStateStore:
    """The state of one fleet; every change is saved to a file in the home."""

    def __init__(self, home: Home, release: str) -> None:
        self.home = home
        self.release = release
        self.fleet = observe_fleet(home)
        self.tolerates_failures = False  # whether a failed write is only logged

    def record(self, part: Part) -> None:
        """Save the state of a part.

        Once the fleet runs, a failed write (full disk) is only logged: it must stop neither the
        supervision nor the shutdown. Readers check the state against the processes.
        """
        self.fleet = self.fleet.having(part)
        try:
            self.home.write_fleet(self.fleet)
        except OperatorError as error:
            if not self.tolerates_failures:
                raise
            say(str(error))

    def announce(self, state: str, address: str | None = None) -> None:
        """Save the state of the supervisor itself."""
        self.tolerates_failures = self.tolerates_failures or state == "ready"
        me = processes.find_process(os.getpid())
        self.record(
            Part(
                name="supervisor",
                role="supervisor",
                state="ready" if state == "ready" else "starting",
                release=self.release,
                address=address,
                pid=os.getpid(),
                started=me.started if me else None,
                since=time.time(),
            )
        )

    def show_given(self, given: Sequence[Part]) -> None:
        """Save the servers named by URL, replacing those of the last start."""
        self.fleet = self.fleet.without(part.name for part in self.fleet.parts if part.given)
        for part in given:
            self.record(part)

    def expect(self, want: PartSpec) -> None:
        """Save a part that is about to start: it counts from now on."""
        self.record(
            Part(
                name=want.name,
                role=want.role,
                state="starting",
                release=want.release,
                generation=want.generation,
                address=want.address,
                operations=want.operations,
            )
        )

    def set_drained(self, name: str, *, drained: bool) -> None:
        """Save whether a part is drained: the balancer sends it no requests."""
        part = self.fleet.part(name)
        if part is None or part.drained == drained:
            return
        state = part.state
        if state in ("starting", "ready", "draining"):
            state = "draining" if drained else "ready"
        self.record(replace(part, drained=drained, state=state))

    def forget(self, name: str) -> None:
        """Remove a part that has stopped for good."""
        self.fleet = self.fleet.without([name])
        self.home.write_fleet(self.fleet)
