"""Commands: what an operator may ask of a running fleet; one at a time, each in the audit trail."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, get_args

from florin.ops.control import failover
from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.model import Algorithm
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import Order, OrderUndone, Reply, Tell
from florin.ops.planning import rollout
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.releases import store
from florin.ops.rollout.executor import (
    FleetContext,
    execute_change,
    format_plan,
    preview_change,
    require_connections,
)
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.watchdog import described
from florin.ops.system.console import OperatorError, say

_API_MAX = 24
_WORKERS_MAX = 64

Verb = Callable[[FleetContext, Order, Operation, Tell], Awaitable[Reply]]


async def execute_order(running: FleetContext, order: Order, tell: Tell) -> Reply:
    """Do what is asked, under the lock, and write down how it went."""
    verb = VERBS.get(order.verb)
    if verb is None:
        raise OperatorError(
            f"This supervisor does not know {order.verb}; florin restart supervisor."
        )
    blank = Operation(who=order.who or "somebody", what=order.what or order.verb)
    if order.options.get("plan"):
        return await verb(running, order, blank, tell)

    def both(said: str) -> None:
        say(said)
        tell(said)

    left, begun = operation_lock.load_operation(running.home), time.monotonic()
    taken = operation_lock.take_lock(running.home, blank)
    await running.workers.settle()
    if left is not None:
        both(f"The lock of {left.said()} was left by a process that is gone; taken over.")
    audit_log.append_operation(running.home, taken.who, taken.what, "begun")
    outcome, said = "cut off", ""
    try:
        reply = await verb(running, order, taken, both)
        outcome, said = "done", reply.said
    except OrderUndone as error:
        outcome, said = "undone", str(error)
        raise
    except (OperatorError, PartEnded, TimeoutError) as error:
        outcome, said = "failed", str(error) or "It took too long."
        raise OperatorError(said) from None
    except Exception as error:
        outcome, said = "failed", described(error)
        raise
    else:
        return reply
    finally:
        operation_lock.release_lock(running.home)
        audit_log.append_operation(
            running.home, taken.who, taken.what, outcome, said=said, begun=begun
        )


async def resume_operation(running: FleetContext, left: Operation) -> None:
    """Finish, or undo, what a killed supervisor was in the middle of."""
    say(f"{left.said()} was cut off; {'going back' if left.undoing else 'finishing it'}.")
    await carry_out_change(running, left, "finished after it was cut off")


async def carry_out_change(running: FleetContext, change: Operation, said: str) -> None:
    """Carry out a change that nobody waits for; how it went is told and written down."""
    taken, begun = operation_lock.take_lock(running.home, change), time.monotonic()
    try:
        await execute_change(running, taken, say)
        outcome = "done"
    except OrderUndone as error:
        outcome, said = "undone", str(error)
        say(said)
    except OperatorError as error:
        outcome, said = "failed", str(error)
        say(said)
    except Exception as error:  # noqa: BLE001 -- what runs is to be supervised all the same
        outcome, said = "failed", described(error)
        say(f"Error: {change.said()} failed: {said}")
    finally:
        operation_lock.release_lock(running.home)
    audit_log.append_operation(
        running.home, change.who, change.what, outcome, said=said, begun=begun
    )


async def scale_fleet(running: FleetContext, order: Order, lock: Operation, tell: Tell) -> Reply:
    kept, marks = desired_state.load_desired_state(running.home), running.marks()
    count, asked = int(order.options.get("api") or kept.api), order.options.get("workers")
    if not 1 <= count <= _API_MAX:
        raise OperatorError(f"api={count} is not possible; from 1 to {_API_MAX} instances are.")
    if asked is not None and asked != "auto" and int(asked) > _WORKERS_MAX:
        raise OperatorError(f"workers={asked} is not possible; up to {_WORKERS_MAX} are.")
    await _require_ready(running)
    fixed = kept.workers if asked is None else None if asked == "auto" else int(asked)
    goal = {name: marks.get(name, kept.mark) for name in desired_state.part_names(count)}
    goal |= desired_state.worker_marks(marks, kept.mark, fixed)
    change = replace(lock, goal=goal, undo=marks, workers=asked or "")
    await require_connections(running, change)
    if order.options.get("plan"):
        return format_plan(await preview_change(running, change))
    operation_lock.save_operation(running.home, change)
    await execute_change(running, change, tell)
    said, document = f"{count} instances of the API serve", dict[str, Any](api=count)
    if asked is not None:
        number = "as many as the work needs" if fixed is None else f"{fixed}"
        said += f"; workers: {number}"
        document["workers"] = "auto" if fixed is None else fixed
    return Reply(f"{said}.", done=True, document=document)


async def drain_instance(
    running: FleetContext, order: Order, _lock: Operation, tell: Tell
) -> Reply:
    name = order.name
    one = next((one for one in await running.instances.crew() if one.name == name), None)
    if one is None:
        there = [known for known in running.marks() if not desired_state.is_worker(known)]
        raise OperatorError(f"No instance {name} runs; there are: {', '.join(there)}.")
    step = rollout.RolloutStep("drain", (name,))
    if one.admitted:
        try:
            rollout.apply_step(await running.instances.crew(), step)
        except rollout.StepImpossible:
            raise OperatorError(
                f"{name} is the last instance that serves; {_company(running)}."
            ) from None
        tell(f"{step}")
        await running.instances.take(step, 0)
    kept = desired_state.load_desired_state(running.home)
    drained = kept.drained | {name: one.mark.generation}
    desired_state.save_desired_state(running.home, replace(kept, drained=drained))
    said = f"{name} gets no requests and has none left; florin restart {name} brings it back."
    return Reply(said, done=True, document={"drained": name})


def _company(running: FleetContext) -> str:
    out = [part.name for part in running.fleet.fleet.of("api") if part.state == "draining"]
    if out:
        return f"florin restart {out[0]} brings another back first"
    return "florin scale api=2 gives it company"


async def restart_part(running: FleetContext, order: Order, lock: Operation, tell: Tell) -> Reply:
    name, marks = order.name, running.marks()
    if name not in marks:
        await running.fleet.restart(name)
        return Reply(f"{name} was restarted.", done=True, document={"restarted": name})
    kept = desired_state.load_desired_state(running.home)
    generation = kept.generation + 1
    desired_state.save_desired_state(running.home, replace(kept, generation=generation))
    goal = marks | {name: ReleaseMark(marks[name].release, generation)}
    change = replace(lock, goal=goal, undo=marks)
    operation_lock.save_operation(running.home, change)
    await execute_change(running, change, tell)
    return Reply(f"{name} was restarted.", done=True, document={"restarted": name})


async def change_algorithm(
    running: FleetContext, order: Order, _lock: Operation, _tell: Tell
) -> Reply:
    await switch_algorithm(running, order.name)
    desired_state.save_desired_state(
        running.home, replace(desired_state.load_desired_state(running.home), algorithm=order.name)
    )
    said = f"Requests are spread by {order.name}."
    return Reply(said, done=True, document={"balance": order.name})


async def switch_algorithm(running: FleetContext, algorithm: str) -> None:
    for known in get_args(Algorithm):
        if known == algorithm:
            await running.topology.balancer.switch(known)
            return
    raise OperatorError(f"There is no {algorithm}; there are: {', '.join(get_args(Algorithm))}.")


async def deploy_release(running: FleetContext, order: Order, lock: Operation, tell: Tell) -> Reply:
    options = running.options
    wanted = order.options.get("release")
    checkout = order.options.get("checkout")
    release = await _snapshot(running, wanted, checkout)
    if store.has_other_lock(options.home, release, options.checkout):
        tell(f"{release} was made for other packages than the environment has (requirements/).")
    return await _replace_all(running, order, lock, tell, release, back=False)


async def roll_back(running: FleetContext, order: Order, lock: Operation, tell: Tell) -> Reply:
    previous = desired_state.load_desired_state(running.home).previous
    if not previous or not store.release_path(running.home, previous).is_dir():
        raise OperatorError("There is no release to go back to; florin deploy --release REF|PATH.")
    return await _replace_all(running, order, lock, tell, previous, back=True)


async def _replace_all(
    running: FleetContext, order: Order, lock: Operation, tell: Tell, release: str, *, back: bool
) -> Reply:
    """Replace every instance by one of the release, a few at a time."""
    kept, marks, begun = (
        desired_state.load_desired_state(running.home),
        running.marks(),
        time.monotonic(),
    )
    mark = ReleaseMark(release, kept.generation + 1)
    count = max(1, kept.api)
    working = desired_state.worker_marks(marks, mark, kept.workers)
    change = replace(
        lock,
        goal=dict.fromkeys((*desired_state.part_names(count), *working), mark),
        undo=marks,
        release=release,
        back=back,
        batch=min(int(order.options.get("batch", 1)), count),
        surge=True,
        soak_s=float(order.options.get("soak_s", 0)),
    )
    await require_connections(running, change)
    if order.options.get("plan"):
        return format_plan(await preview_change(running, change))
    desired_state.save_desired_state(running.home, replace(kept, generation=mark.generation))
    operation_lock.save_operation(running.home, change)
    steps = await execute_change(running, change, tell)
    seconds = time.monotonic() - begun
    document: dict[str, Any] = {
        "outcome": "rolled back" if back else "deployed",
        "release": release,
        "before": kept.release,
        "steps": steps,
        "seconds": round(seconds, 1),
    }
    said = f"{count} instances run {release} (before: {kept.release}); {seconds:.1f} s."
    return Reply(said, done=True, document=document)


async def _snapshot(running: FleetContext, wanted: str | None, checkout: str | None) -> str:
    from pathlib import Path

    root = Path(checkout) if checkout else running.options.checkout
    return await asyncio.to_thread(store.store_release, running.home, wanted, root)


async def _require_ready(running: FleetContext) -> None:
    """Refuse to change what nobody could use: the trouble lies elsewhere then."""
    crew = await running.instances.crew()
    if crew and not any(one.ready for one in crew):
        raise OperatorError(
            "No instance is ready; florin doctor says what they lack. Nothing was changed."
        )


VERBS: dict[str, Verb] = {
    "failover": failover.fail_over,
    "scale": scale_fleet,
    "drain": drain_instance,
    "restart": restart_part,
    "balance": change_algorithm,
    "deploy": deploy_release,
    "rollback": roll_back,
}
