"""Startup: start missing parts, adopt running ones, finish an interrupted change."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from florin.ops.control import commands
from florin.ops.fleet import desired_state, operation_lock, welcome
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.model import Part, Role
from florin.ops.haproxy.runtime_api import HaproxyUnreachable
from florin.ops.lifecycle.completion import complete_change
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.postgres import connection_budget
from florin.ops.releases import store
from florin.ops.rollout.executor import FleetContext, run_migrate
from florin.ops.rollout.instances import InstanceProcesses
from florin.ops.rollout.workers import WorkerProcesses
from florin.ops.supervisor.part_spec import PartSpec, PartStep, plan_parts
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system.console import OperatorError, say, timed
from florin.ops.topology import topology
from florin.ops.topology.fleet_spec import FleetSpec
from florin.ops.valkey.topology import ROLES, wait_until_healthy

_FOUND_WITHIN_S = 15  # after all other parts serve
_ENGINES: tuple[Role, ...] = ("postgres-primary", "postgres-replica", *ROLES)


async def start_fleet(spec: FleetSpec, fleet: Supervisor) -> FleetContext:
    """Start or adopt every part of the spec; return once the fleet serves. Raises OperatorError."""
    for notice in spec.notices:
        say(notice)
    arranged = await topology.arrange_topology(spec, fleet.fleet)
    fleet.state.show_given(arranged.given)
    running = FleetContext(
        spec,
        fleet,
        arranged,
        InstanceProcesses(fleet, arranged.balancer, arranged.instance),
        WorkerProcesses(fleet, arranged.instance),
    )
    interrupted = operation_lock.load_operation(spec.home)
    alive = [part for part in fleet.fleet.of("api") if part.process is not None]
    desired = spec.desired
    if alive:
        # The numbers of processes are saved once they are reached.
        reached = replace(desired, api=spec.stored.api, workers=spec.stored.workers)
        desired_state.save_desired_state(spec.home, reached)
    else:
        desired = await _prepare_release(spec, fleet)
    wanted = arranged.wanted(_wanted_marks(running, desired, alive))
    # While the rest starts:
    finding = asyncio.create_task(wait_until_healthy(arranged.memory))
    try:
        plan = plan_parts(fleet.fleet, wanted)
        rewired = await _execute_steps(running, plan, wanted, desired.release)
        _forget_others(fleet, wanted)
        await _configure_balancer(running, desired.algorithm)
        if alive:
            await complete_change(running, interrupted, rewired)
        if spec.development:
            environ = arranged.environ | store.release_environ(spec.home, desired.release)
            direct = next(part.address or "" for part in fleet.fleet.of("api"))
            await welcome.ensure_demo(spec.home, direct, spec.commands.demo, environ)
        await asyncio.wait({finding}, timeout=_FOUND_WITHIN_S)
        if not finding.done():
            say(
                "The Valkey servers have not connected to each other yet; Florin serves without"
                " them, more slowly. Check florin status."
            )
    finally:
        finding.cancel()
    fleet.state.announce("ready", arranged.balancer.address)
    return running


async def _prepare_release(spec: FleetSpec, fleet: Supervisor) -> DesiredState:
    """Store the checkout's code for the start of a stopped fleet; return the state to start."""
    kept = spec.desired
    release = await asyncio.to_thread(store.store_checkout, spec.home, spec.checkout)
    previous = kept.previous if kept.release in ("", release) else kept.release
    desired = replace(
        kept,
        release=release,
        previous=previous,
        generation=kept.generation + 1,
        colour="blue",
        standby=None,
    )
    desired_state.save_desired_state(spec.home, desired)
    for part in (*fleet.fleet.of("api"), *fleet.fleet.of("worker")):
        await fleet.stop(part.name)
        fleet.state.forget(part.name)
    operation_lock.release_lock(spec.home)  # an interrupted change has no running parts left
    return desired


def _wanted_marks(
    running: FleetContext, desired: DesiredState, alive: Sequence[Part]
) -> Mapping[str, ReleaseMark]:
    """Return the instances and workers to run: those of a running fleet, else the desired ones."""
    if alive:
        working = [part for part in running.workers.there() if part.process is not None]
        parts = (*alive, *working)
        return {part.name: ReleaseMark(part.release, part.generation) for part in parts}
    workers = 1 if desired.workers is None else desired.workers  # the autoscaler corrects it soon
    names = desired_state.instance_names(desired.api, desired.colour)
    marks = dict.fromkeys(names, desired.mark)
    return marks | desired_state.worker_marks({}, desired.mark, workers)


def _forget_others(fleet: Supervisor, wanted: Sequence[PartSpec]) -> None:
    """Forget stopped engines that are no longer wanted."""
    names = {want.name for want in wanted}
    for part in fleet.fleet.parts:
        if part.role in _ENGINES and part.name not in names and not (part.process or part.given):
            fleet.state.forget(part.name)


async def _execute_steps(
    running: FleetContext, steps: Sequence[PartStep], wanted: Sequence[PartSpec], release: str
) -> tuple[str, ...]:
    """Carry out the steps in order; parts of one kind start together, instances after migration.

    Instances and workers that run with other engines than the wanted ones keep serving; their names
    are returned, to be replaced one after the other.
    """
    fleet, wants = running.fleet, {want.name: want for want in wanted}
    own = {want.name for want in wanted if want.role in ("api", "worker")}
    rewired = tuple(s.name for s in steps if s.verb == "replace" and s.name in own)
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
            if want.role in ("api", "worker") and not ready_for_api:
                await _prepare_for_api(running, release, [want.role for want in wanted])
                ready_for_api = True
            starting.append(want)
        else:
            with timed(f"Starting {want.name} ({want.release}) at {want.address}"):
                await fleet.start(want)
    return rewired


async def _prepare_for_api(running: FleetContext, release: str, roles: Sequence[Role]) -> None:
    # One more than will run: a deployment starts a new instance before it stops an old one.
    instances, workers = roles.count("api") + 1, roles.count("worker")
    budget = await connection_budget.read_budget(
        running.topology.database, instances, workers, replicas=running.topology.replicas
    )
    budget.require()
    environ = running.topology.environ | store.release_environ(running.home, release)
    with timed("Migrating the database"):
        await run_migrate(running.spec.commands.migrate, environ)


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
        # In one change: an instance serves at any time, also after a switch that was interrupted.
        drained = [part.name for part in parts if part.state == "draining"]
        admitted = {p.name: p.address or "" for p in parts if p.name not in drained}
        await balancer.switch_servers(admitted, drained)
        for name in admitted:
            fleet.state.set_drained(name, drained=False)
    except HaproxyUnreachable as error:
        raise OperatorError(
            f"The balancer does not answer: {error}. See {running.home.log('balancer')}."
        ) from None
    await commands.switch_algorithm(running, algorithm)
