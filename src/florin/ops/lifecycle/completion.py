"""Completion: finish an interrupted change and start what a running fleet lacks."""

from collections.abc import Sequence
from dataclasses import replace

from florin.ops.control import commands, standby
from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.operation_lock import Operation
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.rollout.capacity import require_connections
from florin.ops.rollout.executor import FleetContext
from florin.ops.system.console import OperatorError, say


async def complete_change(
    running: FleetContext, left: Operation | None, rewired: Sequence[str]
) -> None:
    """Finish the change of a killed supervisor, then start what the desired state lacks."""
    if left is not None and left.goal:
        await commands.resume_operation(running, left)
    elif left is not None:
        operation_lock.release_lock(running.home)
        audit_log.append_operation(running.home, left.who, left.what, "cut off")
        say(f"{left.describe()} was interrupted.")
    await standby.remove_rewired(running, rewired)
    # Read again: the interrupted change may have set another number or release.
    kept = desired_state.load_desired_state(running.home)
    desired = running.spec.requested.applied_to(kept)
    count, generation = desired.api, kept.generation + (1 if rewired else 0)
    names = desired_state.instance_names(count, kept.colour)
    for part in running.fleet.fleet.of("api"):
        if part.process is None and part.name not in names:
            running.fleet.state.forget(part.name)
    kept = replace(desired, api=kept.api, generation=generation)
    desired_state.save_desired_state(running.home, kept)
    marks = running.marks()
    goal = {name: marks.get(name, kept.mark) for name in names}
    least = max(1, sum(desired_state.is_worker(name) for name in marks))
    goal |= desired_state.worker_marks(
        marks, kept.mark, least if kept.workers is None else kept.workers
    )
    for name in rewired:
        if name in goal:
            goal[name] = ReleaseMark(goal[name].release, generation)
    if goal != marks or any(part.process is None for part in running.workers.there()):
        what = f"florin up --api {count}"
        change = Operation(who="florin", what=what, goal=goal, undo=marks, surge=bool(rewired))
        try:
            await require_connections(running, change)
        except OperatorError as error:
            say(f"{error} The running parts were not changed.")
            audit_log.append_operation(
                running.home, change.who, change.what, "failed", message=str(error)
            )
        else:
            await commands.carry_out_change(running, change, "")
