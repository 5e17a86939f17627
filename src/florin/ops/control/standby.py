"""Standby: the instances that a blue-green switch left without requests, until they are removed."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.desired_state import StandbySet
from florin.ops.fleet.observe import is_serving
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import ReportProgress
from florin.ops.planning.rollout import RolloutStep
from florin.ops.rollout.executor import FleetContext
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.system.console import OperatorError, say

_LOOK_EVERY_S = 1.0


async def is_ready(running: FleetContext, standby: StandbySet) -> bool:
    """Return whether every instance of the standby runs as it did and is ready."""
    parts = [running.fleet.fleet.part(name) for name in standby.marks]
    present = [part for part in parts if part is not None and part.process is not None]
    if len(present) < len(parts):
        return False
    if any(standby.marks[part.name].generation != part.generation for part in present):
        return False
    return all(await asyncio.gather(*(is_serving(part) for part in present)))


async def remove_standby(running: FleetContext, report: ReportProgress) -> None:
    """Stop the instances of the standby, if there is one; they finish their open requests."""
    kept = desired_state.load_desired_state(running.home)
    if kept.standby is None:
        return
    names = tuple(n for n in kept.standby.marks if running.fleet.fleet.part(n) is not None)
    if names:
        step = RolloutStep("stop", names)
        report(f"{step}, the standby")
        await running.instances.take(step, 0)
    desired_state.save_desired_state(running.home, replace(kept, standby=None))


async def remove_rewired(running: FleetContext, rewired: Sequence[str]) -> None:
    """Remove a standby that runs with other engines or settings than the fleet has now.

    It must not serve again.
    """
    kept = desired_state.load_desired_state(running.home)
    if kept.standby is not None and set(rewired) & set(kept.standby.marks):
        await remove_standby(running, say)


async def watch_standby(running: FleetContext) -> None:
    """Remove the standby when its time is over, between two changes of operators."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        kept = desired_state.load_desired_state(running.home)
        if kept.standby is None or time.time() < kept.standby.until:
            continue
        change = Operation(who="florin", what=f"remove the standby {', '.join(kept.standby.marks)}")
        try:
            taken = operation_lock.take_lock(running.home, change)
        except OperatorError:
            continue  # another change is running
        begun, outcome, said = time.monotonic(), "done", ""
        try:
            await remove_standby(running, say)
        except (OperatorError, PartEnded) as error:
            outcome, said = "failed", str(error)
        finally:
            operation_lock.release_lock(running.home)
        audit_log.append_operation(
            running.home, taken.who, taken.what, outcome, message=said, begun=begun
        )
