"""Release commands: deploy a release, rolling or blue-green, and return to the one before."""

import asyncio
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from florin.ops.control import standby
from florin.ops.control.plan_reply import format_plan
from florin.ops.fleet import desired_state, operation_lock
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import Order, Reply, ReportProgress
from florin.ops.fleet.timing import STANDBY_KEPT_S
from florin.ops.planning.rollout import ReleaseMark, RolloutStep
from florin.ops.releases import store
from florin.ops.rollout import capacity
from florin.ops.rollout.executor import (
    ChangeOutcome,
    FleetContext,
    execute_change,
    preview_change,
)
from florin.ops.system.console import OperatorError


async def deploy_release(
    running: FleetContext, order: Order, lock: Operation, report: ReportProgress
) -> Reply:
    wanted = order.options.get("release")
    checkout = order.options.get("checkout")
    release = await _snapshot(running, wanted, checkout)
    if store.has_other_lock(running.home, release, running.spec.checkout):
        report(
            f"{release} was built with other package versions (requirements/) than the ones that"
            " are installed."
        )
    if order.options.get("blue_green"):
        return await _replace_by_switch(running, order, lock, report, release)
    return await _replace_rolling(running, order, lock, report, release, back=False)


async def roll_back(
    running: FleetContext, order: Order, lock: Operation, report: ReportProgress
) -> Reply:
    kept = desired_state.load_desired_state(running.home)
    if kept.standby is not None and await standby.is_ready(running, kept.standby):
        return await _flip(running, order, lock, report, kept.standby)
    previous = kept.previous if kept.standby is None else kept.standby.release
    if kept.standby is not None:
        report(
            f"The standby {', '.join(kept.standby.marks)} is not ready; {previous} is deployed"
            " again."
        )
    if not previous or not store.release_path(running.home, previous).is_dir():
        raise OperatorError(
            "There is no earlier release to roll back to. To run a particular release, use florin"
            " deploy --release REF|PATH."
        )
    return await _replace_rolling(running, order, lock, report, previous, back=True)


async def _replace_rolling(
    running: FleetContext,
    order: Order,
    lock: Operation,
    report: ReportProgress,
    release: str,
    *,
    back: bool,
) -> Reply:
    """Replace every instance and worker with one of `release`, `batch` at a time."""
    kept, marks, begun = (
        desired_state.load_desired_state(running.home),
        running.marks(),
        time.monotonic(),
    )
    mark = ReleaseMark(release, kept.generation + 1)
    count = max(1, kept.api)
    working = desired_state.worker_marks(marks, mark, kept.workers)
    names = desired_state.instance_names(count, kept.colour)
    change = replace(
        lock,
        goal=dict.fromkeys((*names, *working), mark),
        undo=marks,
        release=release,
        back=back,
        batch=min(int(order.options.get("batch", 1)), count),
        surge=True,
        verify=bool(order.options.get("verify")),
        soak_s=float(order.options.get("soak_s", 0)),
    )
    await capacity.require_connections(running, change)
    if order.options.get("plan"):
        return format_plan(await preview_change(running, change))
    await standby.remove_standby(running, report)
    outcome = await _execute(running, change, report)
    seconds = time.monotonic() - begun
    said = f"{count} instances run {release} (before: {kept.release}); took {seconds:.1f} s."
    said += _verified(outcome)
    document = _document(change, kept.release, outcome, seconds)
    return Reply(said, done=True, document=document)


async def _replace_by_switch(
    running: FleetContext, order: Order, lock: Operation, report: ReportProgress, release: str
) -> Reply:
    """Start a full set of instances in addition, check it, and switch to it in one step."""
    kept, marks, begun = (
        desired_state.load_desired_state(running.home),
        running.marks(),
        time.monotonic(),
    )
    mark = ReleaseMark(release, kept.generation + 1)
    colour = desired_state.other_colour(kept.colour)
    names = desired_state.instance_names(max(1, kept.api), colour)
    working = desired_state.worker_marks(marks, mark, kept.workers)
    change = replace(
        lock,
        goal=dict.fromkeys((*names, *working), mark),
        undo=marks,
        release=release,
        blue_green=True,
        verify=bool(order.options.get("verify")),
        soak_s=float(order.options.get("soak_s", 0)),
        keep_s=float(order.options.get("keep_s", STANDBY_KEPT_S)),
    )
    await capacity.require_two_sets(running, change)
    if order.options.get("plan"):
        steps = await preview_change(running, change)
        if kept.standby is not None:
            steps = (RolloutStep("stop", tuple(kept.standby.marks)), *steps)
        return format_plan(steps)
    await standby.remove_standby(running, report)
    outcome = await _execute(running, change, report)
    seconds = time.monotonic() - begun
    said = (
        f"{', '.join(names)} ({colour}) serve {release} (before: {kept.release}); took"
        f" {seconds:.1f} s."
    )
    said += _verified(outcome)
    document = _document(change, kept.release, outcome, seconds) | {"colour": colour}
    now = desired_state.load_desired_state(running.home).standby
    if now is not None:
        said += f" Standby ({now.colour}): {now.describe()}; florin rollback returns to it."
    return Reply(said, done=True, document=document)


async def _flip(
    running: FleetContext,
    order: Order,
    lock: Operation,
    report: ReportProgress,
    to: desired_state.StandbySet,
) -> Reply:
    """Switch back to the instances that served before; those of now become the standby."""
    kept, marks, begun = (
        desired_state.load_desired_state(running.home),
        running.marks(),
        time.monotonic(),
    )
    mark = ReleaseMark(to.release, kept.generation + 1)
    working = dict.fromkeys(desired_state.worker_marks(marks, mark, kept.workers), mark)
    change = replace(
        lock,
        goal={**to.marks, **working},
        undo=marks,
        release=to.release,
        back=True,
        blue_green=True,
        flip=True,
        keep_s=float(order.options.get("keep_s", STANDBY_KEPT_S)),
    )
    if order.options.get("plan"):
        return format_plan(await preview_change(running, change))
    outcome = await _execute(running, change, report)
    if kept.api > len(to.marks):  # it was scaled up since the switch
        await _scale_up(running, lock, kept.api, report)
    seconds = time.monotonic() - begun
    switched = (outcome.switched_at or begun) - begun
    said = (
        f"{', '.join(to.marks)} ({to.colour}) serve {to.release} again; the switch took"
        f" {switched:.2f} s, with the workers {seconds:.1f} s."
    )
    document = _document(change, kept.release, outcome, seconds)
    document |= {"colour": to.colour, "switched_s": round(switched, 3)}
    return Reply(said, done=True, document=document)


async def _scale_up(
    running: FleetContext, lock: Operation, count: int, report: ReportProgress
) -> None:
    kept, marks = desired_state.load_desired_state(running.home), running.marks()
    names = desired_state.instance_names(count, kept.colour)
    workers = {name: mark for name, mark in marks.items() if desired_state.is_worker(name)}
    goal = {name: marks.get(name, kept.mark) for name in names} | workers
    change = replace(lock, goal=goal, undo=marks)
    operation_lock.save_operation(running.home, change)
    await execute_change(running, change, report)


async def _execute(
    running: FleetContext, change: Operation, report: ReportProgress
) -> ChangeOutcome:
    """Record the change, so that an interruption can be finished or undone, and carry it out."""
    kept = desired_state.load_desired_state(running.home)
    desired_state.save_desired_state(running.home, replace(kept, generation=kept.generation + 1))
    operation_lock.save_operation(running.home, change)
    return await execute_change(running, change, report)


def _document(
    change: Operation, before: str, outcome: ChangeOutcome, seconds: float
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "outcome": "rolled back" if change.back else "deployed",
        "release": change.release,
        "before": before,
        "strategy": "blue-green" if change.blue_green else "rolling",
        "steps": outcome.steps,
        "seconds": round(seconds, 1),
    }
    if outcome.verification is not None:
        document["verification"] = asdict(outcome.verification)
    return document


def _verified(outcome: ChangeOutcome) -> str:
    found = outcome.verification
    return "" if found is None else f" Verified: {found.describe()}."


async def _snapshot(running: FleetContext, wanted: str | None, checkout: str | None) -> str:
    root = Path(checkout) if checkout else running.spec.checkout
    return await asyncio.to_thread(store.store_release, running.home, wanted, root)
