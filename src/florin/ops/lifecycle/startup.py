"""Startup: start missing parts, adopt running ones, finish an interrupted change."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from florin.ops.control import commands
from florin.ops.fleet import audit_log, desired_state, operation_lock, welcome
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.model import Part, Role
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.options import UpOptions
from florin.ops.haproxy import frontend
from florin.ops.haproxy.runtime_api import HaproxyUnreachable
from florin.ops.lifecycle import takeover
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.postgres import connection_budget
from florin.ops.releases import store
from florin.ops.rollout.executor import FleetContext, require_connections, run_migrate
from florin.ops.rollout.instances import InstanceProcesses
from florin.ops.rollout.workers import WorkerProcesses
from florin.ops.supervisor.part_spec import PartSpec, PartStep, plan_parts
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say, timed
from florin.ops.topology import topology
from florin.ops.topology.app_process import OWN
from florin.ops.topology.topology import Topology
from florin.ops.valkey.topology import ROLES, wait_until_healthy

_FOUND_WITHIN_S = 15  # after all other parts serve
_ENGINES: tuple[Role, ...] = ("postgres-primary", "postgres-replica", *ROLES)


async def start_fleet(options: UpOptions, fleet: Supervisor) -> FleetContext:
    fleet.announce("starting")
    frontend.require_ports(options, fleet.fleet)
    takeover.require_same_database(options, fleet.fleet)
    arranged = await topology.arrange_topology(options, fleet.fleet)
    _remember(options, arranged)
    fleet.show_given(arranged.given)
    running = FleetContext(
        options,
        fleet,
        arranged,
        InstanceProcesses(fleet, arranged.balancer, arranged.instance),
        WorkerProcesses(fleet, arranged.instance),
    )
    left = operation_lock.load_operation(options.home)
    alive = [part for part in fleet.fleet.of("api") if part.process is not None]
    kept = desired_state.load_desired_state(options.home) if alive else await _fresh(running)
    if alive:
        working = [part for part in running.workers.there() if part.process is not None]
        marks = _marks([*alive, *working])
    else:
        marks = dict.fromkeys(desired_state.part_names(kept.api), kept.mark)
        marks |= desired_state.worker_marks({}, kept.mark, _count(kept))
    wanted = arranged.wanted(marks)
    finding = asyncio.create_task(wait_until_healthy(arranged.memory))  # while the rest starts
    try:
        rewired = await _take(running, plan_parts(fleet.fleet, wanted), wanted, kept.release)
        _forget_others(fleet, wanted)
        await _configure_balancer(running, options.algorithm or kept.algorithm)
        if alive:
            await _complete(running, left, rewired)
        if options.development:
            environ = arranged.environ | store.release_environ(options.home, kept.release)
            direct = next(part.address or "" for part in fleet.fleet.of("api"))
            await welcome.ensure_demo(options.home, direct, options.commands.demo, environ)
        await asyncio.wait({finding}, timeout=_FOUND_WITHIN_S)
        if not finding.done():
            say(
                "The Valkey servers have not connected to each other yet; Florin serves without"
                " them, more slowly. Check florin status."
            )
    finally:
        finding.cancel()
    fleet.announce("ready", arranged.balancer.address)
    return running


def _remember(options: UpOptions, arranged: Topology) -> None:
    """Save the requested engines: the next `up` without these options keeps them."""
    kept = desired_state.load_desired_state(options.home)
    pair = None if options.tls is None else (str(options.tls[0]), str(options.tls[1]))
    kept = replace(kept, tls=pair)
    if options.replicas is not None:
        kept = replace(kept, replicas=options.replicas)
    if options.valkey is not None and arranged.memory is not None:
        kept = replace(kept, valkey=options.valkey)
    desired_state.save_desired_state(options.home, kept)


def _forget_others(fleet: Supervisor, wanted: Sequence[PartSpec]) -> None:
    """Forget stopped engines that are no longer wanted."""
    names = {want.name for want in wanted}
    for part in fleet.fleet.parts:
        if part.role in _ENGINES and part.name not in names and not (part.process or part.given):
            fleet.forget(part.name)


async def _fresh(running: FleetContext) -> DesiredState:
    """Prepare the start of a stopped fleet: the checkout's code, with the last desired numbers."""
    options, fleet = running.options, running.fleet
    kept = desired_state.load_desired_state(options.home)
    release = await asyncio.to_thread(store.store_checkout, options.home, options.checkout)
    previous = kept.previous if kept.release in ("", release) else kept.release
    kept = replace(
        kept,
        api=options.api or kept.api,
        workers=_asked(options, kept),
        release=release,
        previous=previous,
        generation=kept.generation + 1,
    )
    desired_state.save_desired_state(options.home, kept)
    for part in (*fleet.fleet.of("api"), *fleet.fleet.of("worker")):
        await fleet.stop(part.name)
        fleet.forget(part.name)
    operation_lock.release_lock(options.home)  # an interrupted change has no running parts left
    return kept


def _asked(options: UpOptions, kept: DesiredState) -> int | None:
    if options.workers is None:
        return kept.workers
    return None if options.workers == "auto" else options.workers


def _count(kept: DesiredState) -> int:
    """Return the number of workers to start with; the autoscaler corrects it soon after."""
    return 1 if kept.workers is None else kept.workers


def _marks(parts: Sequence[Part]) -> dict[str, ReleaseMark]:
    return {part.name: ReleaseMark(part.release, part.generation) for part in parts}


async def _take(
    running: FleetContext, steps: Sequence[PartStep], wanted: Sequence[PartSpec], release: str
) -> tuple[str, ...]:
    """Carry out the steps in order; parts of one kind start together, instances after migration.

    Instances and workers that run with other engines than the wanted ones keep serving; their names
    are returned, to be replaced one after the other.
    """
    fleet, wants = running.fleet, {want.name: want for want in wanted}
    rewired = tuple(s.name for s in steps if s.verb == "replace" and _own(wants.get(s.name)))
    ready_for_api = False
    starting: list[PartSpec] = []
    for step in steps:
        want = wants.get(step.name)
        together = want.together if want is not None else ""
        if starting and together != starting[0].together:
            await _start_together(fleet, starting)
            starting = []
        if step.verb == "replace" and want is not None and await fleet.swap(want):
            say(f"{want.name} had other settings; a new process at {want.address} replaced it.")
            continue
        if step.verb in ("stop", "replace") and step.name not in rewired:
            await fleet.stop(step.name)
            say(f"Stopped {step.name}: it is no longer wanted or had other settings.")
        if want is None or step.verb == "stop":
            continue
        if step.verb == "adopt" or step.name in rewired:
            part = fleet.fleet.part(want.name)
            if part is not None:  # with its current settings, until it is replaced
                want = replace(want, wiring=part.wiring, operations=part.operations)
            fleet.adopt(want)
            say(f"{want.name} is already running (pid {part.pid if part else '?'}); adopted it.")
        elif together:
            if together == OWN and not ready_for_api:
                await _prepare_for_api(running, release, [want.role for want in wanted])
                ready_for_api = True
            starting.append(want)
        else:
            with timed(f"Starting {want.name} ({want.release}) at {want.address}"):
                await fleet.start(want)
    return rewired


def _own(want: PartSpec | None) -> bool:
    return want is not None and want.role in ("api", "worker")


async def _prepare_for_api(running: FleetContext, release: str, roles: Sequence[Role]) -> None:
    # One more than will run: a deployment starts a new instance before it stops an old one.
    instances, workers = roles.count("api") + 1, roles.count("worker")
    budget = await connection_budget.read_budget(
        running.topology.database, instances, workers, replicas=running.topology.replicas
    )
    budget.require()
    environ = running.topology.environ | store.release_environ(running.home, release)
    with timed("Migrating the database"):
        await run_migrate(running.options.commands.migrate, environ)


async def _start_together(fleet: Supervisor, wants: Sequence[PartSpec]) -> None:
    names = ", ".join(want.name for want in wants)
    with timed(f"Starting {names} ({wants[0].release})"):
        try:
            async with asyncio.TaskGroup() as group:
                for want in wants:
                    group.create_task(fleet.start(want, drained=want.role == "api"))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None


async def _configure_balancer(running: FleetContext, algorithm: str) -> None:
    """Configure exactly the running instances, each admitted unless it was drained."""
    balancer, fleet = running.topology.balancer, running.fleet
    parts = [part for part in fleet.fleet.of("api") if part.process is not None]
    try:
        await balancer.restore()
        known = {server.name for server in balancer.facts().servers}
        for name in known - {part.name for part in parts}:
            await balancer.forget(name)
        for part in parts:
            if part.state == "draining":
                await balancer.drain(part.name)
            else:
                await running.instances.admit(part.name)
    except HaproxyUnreachable as error:
        raise OperatorError(
            f"The balancer does not answer: {error}. See {running.home.log('balancer')}."
        ) from None
    await commands.switch_algorithm(running, algorithm)


async def _complete(running: FleetContext, left: Operation | None, rewired: Sequence[str]) -> None:
    """Finish the change of a killed supervisor, then start what the desired state lacks."""
    if left is not None and left.goal:
        await commands.resume_operation(running, left)
    elif left is not None:
        operation_lock.release_lock(running.home)
        audit_log.append_operation(running.home, left.who, left.what, "cut off")
        say(f"{left.describe()} was interrupted.")
    kept = desired_state.load_desired_state(running.home)
    count = running.options.api or kept.api
    for part in running.fleet.fleet.of("api"):
        if part.process is None and part.name not in desired_state.part_names(count):
            running.fleet.forget(part.name)
    generation = kept.generation + (1 if rewired else 0)
    kept = replace(kept, workers=_asked(running.options, kept), generation=generation)
    desired_state.save_desired_state(running.home, kept)
    marks = running.marks()
    goal = {name: marks.get(name, kept.mark) for name in desired_state.part_names(count)}
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
                running.home, change.who, change.what, "failed", said=str(error)
            )
        else:
            await commands.carry_out_change(running, change, "")
