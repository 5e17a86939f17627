"""Executor: carry out a change to the fleet, step by step, and undo it when it fails."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from florin.ops.fleet import desired_state, operation_lock
from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import OrderUndone, ReportProgress
from florin.ops.planning import blue_green, rollout
from florin.ops.planning.rollout import Goal, ReleaseMark, RolloutStep
from florin.ops.releases import store
from florin.ops.rollout import function_pruning, settlement
from florin.ops.rollout.gate import Verification
from florin.ops.rollout.guards import PHASES, DeployGuards, open_guards
from florin.ops.rollout.instances import InstanceProcesses
from florin.ops.rollout.workers import WorkerProcesses
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.supervisor.watchdog import described
from florin.ops.system.console import OperatorError
from florin.ops.topology.fleet_spec import FleetSpec
from florin.ops.topology.topology import Topology

_ROUNDS = 3  # a part that dies while a plan is carried out makes another plan necessary


@dataclass(frozen=True, slots=True)
class FleetContext:
    """The fleet of a running supervisor and everything that can change it."""

    spec: FleetSpec
    fleet: Supervisor
    topology: Topology
    instances: InstanceProcesses
    workers: WorkerProcesses

    @property
    def home(self) -> Home:
        return self.spec.home

    def marks(self) -> dict[str, ReleaseMark]:
        """Return the release mark of every serving instance and every worker, ordered by number."""
        kept = desired_state.load_desired_state(self.home)
        known = [part for part in self.fleet.fleet.of("api") if part.release]
        known = [part for part in known if desired_state.colour_of(part.name) == kept.colour]
        parts = [part for part in known if part.process or part_number(part.name) <= kept.api]
        parts.sort(key=lambda part: part_number(part.name))
        parts += sorted(self.workers.there(), key=lambda part: part_number(part.name))
        return {part.name: ReleaseMark(part.release, part.generation) for part in parts}


def part_number(name: str) -> int:
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else 0


@dataclass(slots=True)
class ChangeOutcome:
    """What a change did; `switched_at`: the monotonic time of a blue-green switch."""

    steps: int = 0
    switched_at: float | None = None
    verification: Verification | None = None


async def execute_change(
    running: FleetContext, change: Operation, report: ReportProgress
) -> ChangeOutcome:
    """Reach the operation's goal; return what was done.

    When a step fails the fleet is put back into its earlier state. Raises OrderUndone then, or
    OperatorError when that fails as well.
    """
    if not change.undoing:
        try:
            async with open_guards(running, change, report) as guards:
                if change.release and not change.flip:  # whose functions are there: they are called
                    await guards.around("migrate", (), migrate_release(running, change.release))
                outcome = await _reach(running, change, change.goal, report, guards)
                outcome.verification = await guards.promote()
        except Exception as error:  # noqa: BLE001 -- no failure may leave half of a change behind
            why = _reason(error)
            report(f"{why}; undoing the change.")
            change = replace(change, undoing=True)
            operation_lock.save_operation(running.home, change)
            await _undo(running, change, report)
            raise _undone(change, why) from None
    else:
        await _undo(running, change, report)
        raise _undone(change, "the interrupted change was already being undone")
    settlement.settle_change(running.home, change)
    if change.release and not change.flip:
        await function_pruning.remove_unused_functions(running.home, running.topology, report)
    return outcome


def _reason(error: Exception) -> str:
    """Return why a change stopped: a message, or for a bug the error and its place in the code."""
    return str(error) if isinstance(error, OperatorError | PartEnded) else described(error)


def _undone(change: Operation, why: str) -> OrderUndone:
    return OrderUndone(
        f"The change was undone; the fleet is as before. Reason: {why}.",
        {"outcome": "undone", "release": change.release, "why": why},
    )


async def preview_change(running: FleetContext, change: Operation) -> tuple[RolloutStep, ...]:
    """Return the steps of a change; changes nothing."""
    return await _plan(running, change, change.goal)


async def _plan(running: FleetContext, change: Operation, goal: Goal) -> tuple[RolloutStep, ...]:
    """Plan instances before workers: a release that fails on instances never runs a job."""
    crew = await running.instances.crew(standby=change.blue_green)
    serving = serving_goal(goal)
    if change.blue_green:
        check, keep = not (change.flip or change.undoing), change.flip or not change.undoing
        keep = keep and change.keep_s > 0
        first = blue_green.plan_switch(crew, serving, check=check, keep=keep)
    else:
        first = rollout.plan_instances(crew, serving, batch=change.batch, surge=change.surge)
    working = {name: mark for name, mark in goal.items() if desired_state.is_worker(name)}
    crew = running.workers.crew()
    return (*first, *rollout.plan_workers(crew, working, batch=change.batch))


def serving_goal(goal: Goal) -> dict[str, ReleaseMark]:
    """Return the instances of a goal, without its workers."""
    return {name: mark for name, mark in goal.items() if not desired_state.is_worker(name)}


async def _undo(running: FleetContext, change: Operation, report: ReportProgress) -> None:
    try:
        if not change.blue_green:  # whose first step is to switch back
            await _withdraw(running, change, report)
        await _reach(running, replace(change, soak_s=0.0), change.undo, report)
    except Exception as error:  # noqa: BLE001 -- every failure must reach the operator
        raise OperatorError(
            f"Undoing the change failed as well: {_reason(error)}. Check florin status, then run"
            " florin rollback, or florin deploy with a release that works."
        ) from None


async def _withdraw(running: FleetContext, change: Operation, report: ReportProgress) -> None:
    """Drain the new instances at once when at least one old instance still serves."""
    crew = await running.instances.crew()
    old = {one.name for one in crew if change.undo.get(one.name) == one.mark}
    new = tuple(one.name for one in crew if one.admitted and one.name not in old)
    if new and any(one.serves for one in crew if one.name in old):
        step = RolloutStep("drain", new)
        report(str(step))
        await running.instances.take(step, 0)


async def _reach(
    running: FleetContext,
    change: Operation,
    goal: Goal,
    report: ReportProgress,
    guards: DeployGuards | None = None,
) -> ChangeOutcome:
    outcome, guards = ChangeOutcome(), guards or DeployGuards()
    for _ in range(_ROUNDS):
        steps = await _plan(running, change, goal)
        if not steps:
            return outcome
        for index, step in enumerate(steps, start=1):
            report(f"[{index}/{len(steps)}] {step}")
            if desired_state.is_worker(step.names[0]):
                await guards.around("workers", step.names, running.workers.take(step))
                continue
            taking = running.instances.take(step, change.soak_s, guards.gate)
            await guards.around(PHASES[step.verb], step.names, taking)
            if step.verb == "switch":
                outcome.switched_at = time.monotonic()
        outcome.steps += len(steps)
    return outcome


async def migrate_release(running: FleetContext, release: str) -> None:
    """Migrate the schema and install the functions of this release, next to those of the others.

    Raises OperatorError with the release's own message.
    """
    environ = running.topology.environ | store.release_environ(running.home, release)
    await run_migrate(running.spec.commands.migrate, environ)


async def run_migrate(command: tuple[str, ...], environ: Mapping[str, str]) -> None:
    child = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environ),
        cwd=Path("/"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = await child.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        raise OperatorError(_last_message(said.decode(errors="replace"), child.returncode))


def _last_message(output: str, code: int | None) -> str:
    """Return the last line of the output; after a traceback, with the place of the error."""
    lines = [line.strip() for line in output.strip().splitlines()]
    if not lines:
        return f"florin migrate ended with exit code {code}."
    places = [line for line in lines if line.startswith('File "')]
    return f"its code does not run: {lines[-1]} ({places[-1]})" if places else lines[-1]
