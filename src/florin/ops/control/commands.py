"""Commands: operator commands on a running fleet; one at a time, each recorded in the audit log."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, get_args

from florin.kit.observability import error_reports
from florin.ops.control import failover, release_commands
from florin.ops.control.plan_reply import format_plan
from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.model import Algorithm
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import TIMED_OUT, Order, OrderUndone, Reply, ReportProgress
from florin.ops.planning import rollout
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.rollout.capacity import require_connections
from florin.ops.rollout.executor import (
    FleetContext,
    execute_change,
    preview_change,
)
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.watchdog import described
from florin.ops.system.console import OperatorError, say

_API_MAX = 24
_WORKERS_MAX = 64

Verb = Callable[[FleetContext, Order, Operation, ReportProgress], Awaitable[Reply]]


async def execute_order(running: FleetContext, order: Order, report: ReportProgress) -> Reply:
    """Execute an order under the operation lock and record its outcome in the audit log."""
    verb = VERBS.get(order.verb)
    if verb is None:
        raise OperatorError(
            f"This supervisor does not support '{order.verb}': it runs an older version. Run"
            " florin restart supervisor, then try again."
        )
    blank = Operation(who=order.who or "unknown user", what=order.what or order.verb)
    if order.options.get("plan"):
        return await verb(running, order, blank, report)

    def log_and_report(line: str) -> None:
        say(line)
        report(line)

    left, begun = operation_lock.load_operation(running.home), time.monotonic()
    taken = operation_lock.take_lock(running.home, blank)
    await running.workers.settle()
    if left is not None:
        log_and_report(
            f"Took over the operation lock of {left.describe()}: its process no longer runs."
        )
    event = {"outcome": "begun"} if verb in RELEASE_VERBS else None
    audit_log.append_operation(running.home, taken.who, taken.what, "begun", details=event)
    outcome, said, details = "cut off", "", dict[str, Any]()
    try:
        reply = await verb(running, order, taken, log_and_report)
        outcome, said, details = "done", reply.message, reply.document or {}
    except OrderUndone as error:
        outcome, said, details = "undone", str(error), error.document
        raise
    except (OperatorError, PartEnded, TimeoutError) as error:
        outcome, said = "failed", str(error) or TIMED_OUT
        raise OperatorError(said) from None
    except Exception as error:
        outcome, said = "failed", described(error)
        error_reports.report_error(error, {"event": "an order of the operator failed"})
        raise
    else:
        return reply
    finally:
        operation_lock.release_lock(running.home)
        audit_log.append_operation(
            *(running.home, taken.who, taken.what, outcome),
            message=said,
            begun=begun,
            details=event and (details or {"outcome": outcome}),
        )


async def resume_operation(running: FleetContext, left: Operation) -> None:
    """Finish or undo the change that a killed supervisor did not complete."""
    if left.verify:  # the log of the requests so far ended with the supervisor
        left = replace(left, undoing=True)
    say(f"{left.describe()} was interrupted; {'undoing' if left.undoing else 'finishing'} it.")
    await carry_out_change(running, left, "finished after an interruption")


async def carry_out_change(running: FleetContext, change: Operation, message: str) -> None:
    """Carry out a change that no caller waits for; log its outcome and record it in the audit log.

    `said` is the text of the audit entry when the change succeeds.
    """
    taken, begun = operation_lock.take_lock(running.home, change), time.monotonic()
    try:
        await execute_change(running, taken, say)
        outcome = "done"
    except OrderUndone as error:
        outcome, message = "undone", str(error)
        say(message)
    except OperatorError as error:
        outcome, message = "failed", str(error)
        say(message)
    except Exception as error:  # noqa: BLE001 -- supervision of the fleet must continue
        outcome, message = "failed", described(error)
        error_reports.report_error(error, {"event": "a change of the fleet failed"})
        say(f"Error: {change.describe()} failed: {message}")
    finally:
        operation_lock.release_lock(running.home)
    details = {"outcome": outcome, "release": change.release} if change.release else None
    audit_log.append_operation(
        *(running.home, change.who, change.what, outcome),
        message=message,
        begun=begun,
        details=details,
    )


async def scale_fleet(
    running: FleetContext, order: Order, lock: Operation, report: ReportProgress
) -> Reply:
    kept, marks = desired_state.load_desired_state(running.home), running.marks()
    count, asked = int(order.options.get("api") or kept.api), order.options.get("workers")
    if not 1 <= count <= _API_MAX:
        raise OperatorError(f"api={count} is out of range; give a number from 1 to {_API_MAX}.")
    if asked is not None and asked != "auto" and int(asked) > _WORKERS_MAX:
        raise OperatorError(
            f"workers={asked} is out of range; give auto or a number up to {_WORKERS_MAX}."
        )
    await _require_ready(running)
    fixed = kept.workers if asked is None else None if asked == "auto" else int(asked)
    names = desired_state.instance_names(count, kept.colour)
    goal = {name: marks.get(name, kept.mark) for name in names}
    goal |= desired_state.worker_marks(marks, kept.mark, fixed)
    change = replace(lock, goal=goal, undo=marks, workers=asked or "")
    await require_connections(running, change)
    if order.options.get("plan"):
        return format_plan(await preview_change(running, change))
    operation_lock.save_operation(running.home, change)
    await execute_change(running, change, report)
    said, document = f"API instances: {count}", dict[str, Any](api=count)
    if asked is not None:
        number = "auto (scaled with the queues)" if fixed is None else f"{fixed}"
        said += f"; workers: {number}"
        document["workers"] = "auto" if fixed is None else fixed
    return Reply(f"{said}.", done=True, document=document)


async def drain_instance(
    running: FleetContext, order: Order, _lock: Operation, report: ReportProgress
) -> Reply:
    name = order.name
    one = next((one for one in await running.instances.crew() if one.name == name), None)
    if one is None:
        there = [known for known in running.marks() if not desired_state.is_worker(known)]
        raise OperatorError(
            f"No instance named {name} is running; running instances: {', '.join(there)}."
        )
    step = rollout.RolloutStep("drain", (name,))
    if one.admitted:
        try:
            rollout.apply_step(await running.instances.crew(), step)
        except rollout.StepImpossible:
            raise OperatorError(
                f"{name} is the last instance that serves requests, so it cannot be drained."
                f" {_another_instance(running)}"
            ) from None
        report(f"{step}")
        await running.instances.take(step, 0)
    kept = desired_state.load_desired_state(running.home)
    drained = kept.drained | {name: one.mark.generation}
    desired_state.save_desired_state(running.home, replace(kept, drained=drained))
    said = f"{name} is drained: it has no requests and gets no new ones. To put it back into"
    said += f" service, run florin restart {name}."
    return Reply(said, done=True, document={"drained": name})


def _another_instance(running: FleetContext) -> str:
    drained = [part.name for part in running.fleet.fleet.of("api") if part.state == "draining"]
    if drained:
        return f"First put another instance back into service: florin restart {drained[0]}."
    return "First add an instance: florin scale api=2."


async def restart_part(
    running: FleetContext, order: Order, lock: Operation, report: ReportProgress
) -> Reply:
    name, marks = order.name, running.marks()
    standby = desired_state.load_desired_state(running.home).standby
    if standby is not None and name in standby.marks:
        raise OperatorError(
            f"{name} is on standby: {standby.describe()}. It gets no requests, so there is nothing"
            " to restart; florin rollback returns to it."
        )
    if name not in marks:
        await running.fleet.restart(name)
        return Reply(f"{name} was restarted.", done=True, document={"restarted": name})
    kept = desired_state.load_desired_state(running.home)
    generation = kept.generation + 1
    desired_state.save_desired_state(running.home, replace(kept, generation=generation))
    goal = marks | {name: ReleaseMark(marks[name].release, generation)}
    change = replace(lock, goal=goal, undo=marks)
    operation_lock.save_operation(running.home, change)
    await execute_change(running, change, report)
    return Reply(f"{name} was restarted.", done=True, document={"restarted": name})


async def change_algorithm(
    running: FleetContext, order: Order, _lock: Operation, _report: ReportProgress
) -> Reply:
    await switch_algorithm(running, order.name)
    desired_state.save_desired_state(
        running.home, replace(desired_state.load_desired_state(running.home), algorithm=order.name)
    )
    said = f"The balancer now uses {order.name}."
    return Reply(said, done=True, document={"balance": order.name})


async def switch_algorithm(running: FleetContext, algorithm: str) -> None:
    for known in get_args(Algorithm):
        if known == algorithm:
            await running.topology.balancer.switch(known)
            return
    raise OperatorError(
        f"Unknown balancing algorithm {algorithm}; choose one of: {', '.join(get_args(Algorithm))}."
    )


async def _require_ready(running: FleetContext) -> None:
    """Refuse to scale a fleet without a ready instance: the cause must be fixed first."""
    crew = await running.instances.crew()
    if crew and not any(one.ready for one in crew):
        raise OperatorError(
            "No instance is ready, so nothing was changed. Run florin doctor to find the cause."
        )


VERBS: dict[str, Verb] = {
    "failover": failover.fail_over,
    "scale": scale_fleet,
    "drain": drain_instance,
    "restart": restart_part,
    "balance": change_algorithm,
    "deploy": release_commands.deploy_release,
    "rollback": release_commands.roll_back,
}
RELEASE_VERBS = (VERBS["deploy"], VERBS["rollback"])  # their starts and ends are events
