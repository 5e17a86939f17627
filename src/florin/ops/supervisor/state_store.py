"""State store: what runs, written down as it changes, so that whoever comes next finds it."""

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
    """Holds the facts of one fleet; every change goes to the home's file."""

    def __init__(self, home: Home, release: str) -> None:
        self.home = home
        self.release = release
        self.fleet = observe_fleet(home)
        self._risen = False

    def record(self, part: Part) -> None:
        """Write down a fact.

        Once all runs, a full disk is no reason to stop watching, nor to leave anything running:
        whoever reads the facts checks them against the processes.
        """
        self.fleet = self.fleet.having(part)
        try:
            self.home.write_fleet(self.fleet)
        except OperatorError as error:
            if not self._risen:
                raise
            say(str(error))

    def announce(self, state: str, address: str | None = None) -> None:
        """Write down this process itself."""
        self._risen = self._risen or state == "ready"
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
        """Write down the servers that were named by URL, in the place of those of the last time."""
        self.fleet = self.fleet.without(part.name for part in self.fleet.parts if part.given)
        for part in given:
            self.record(part)

    def expect(self, want: PartSpec) -> None:
        """Write down a part that is about to be started: it counts from now on."""
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
        """Write down whether the balancer sends it requests."""
        part = self.fleet.part(name)
        if part is None or part.drained == drained:
            return
        state = part.state
        if state in ("starting", "ready", "draining"):
            state = "draining" if drained else "ready"
        self.record(replace(part, drained=drained, state=state))

    def forget(self, name: str) -> None:
        """Drop a part that has stopped for good."""
        self.fleet = self.fleet.without([name])
        self.home.write_fleet(self.fleet)
