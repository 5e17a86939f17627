"""Guards: what surrounds the steps of a deployment: the gate that verifies it, and hooks."""

from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from florin.ops.fleet import desired_state
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import ReportProgress
from florin.ops.planning.rollout import Verb
from florin.ops.releases import store
from florin.ops.rollout.gate import COMPARED_REQUESTS, GateProcess, Verification
from florin.ops.rollout.hooks import DeployHooks, HookPhase

if TYPE_CHECKING:
    from florin.ops.rollout.executor import FleetContext

PHASES: Mapping[Verb, HookPhase] = {
    "start": "start",
    "check": "check",
    "admit": "switch",
    "switch": "switch",
    "watch": "watch",
    "drain": "retire",
    "stop": "retire",
}
_BETWEEN_REQUESTS = 100  # compared after each batch, before the next one is replaced


@dataclass(slots=True)
class DeployGuards:
    """Without gate and hooks it only carries out what it is given."""

    gate: GateProcess | None = None
    hooks: DeployHooks | None = None
    verify: bool = False

    async def around(
        self, phase: HookPhase, names: tuple[str, ...], step: Coroutine[Any, Any, None]
    ) -> None:
        """Carry out a step between its hooks; after a watch, compare the ledger with the log.

        Raises OperatorError when a hook fails, a request failed or a cent differs.
        """
        if self.hooks is not None:
            try:
                await self.hooks.run("before", phase, names)
            except BaseException:
                step.close()  # it is never awaited
                raise
        await step
        if phase == "watch" and self.verify and self.gate is not None:
            await self.gate.compare(_BETWEEN_REQUESTS)
        if self.hooks is not None:
            await self.hooks.run("after", phase, names)

    async def promote(self) -> Verification | None:
        """Give the last verdict before the release is promoted. Raises OperatorError."""
        found = None
        if self.verify and self.gate is not None:
            found = await self.gate.compare(COMPARED_REQUESTS)
        if self.hooks is not None:
            await self.hooks.run("after", "deploy", ())
        return found


@asynccontextmanager
async def open_guards(
    running: "FleetContext", change: Operation, report: ReportProgress
) -> AsyncGenerator[DeployGuards]:
    """Start the gate and its load where the change is a deployment that needs them."""
    guards = DeployGuards(verify=change.verify)
    deploys = bool(change.release) and not change.back
    async with AsyncExitStack() as stack:
        if deploys:
            guards.hooks = DeployHooks(running.home, change, running.topology.url, report)
            await guards.hooks.run("before", "deploy", ())
        if deploys and (change.blue_green or change.verify):
            kept = desired_state.load_desired_state(running.home)
            # The code that serves now: the new one is what is checked.
            environ = running.topology.environ | store.release_environ(running.home, kept.release)
            command = running.spec.commands.gate
            gate = GateProcess(command, environ, running.home.log("gate"))
            guards.gate = await stack.enter_async_context(gate)
        if change.verify and guards.gate is not None:
            edge = running.topology.balancer
            await guards.gate.begin_load(edge.address, tls=edge.edge.tls)
        yield guards
