"""Capacity: whether a change fits: connections of the database, memory, slots of the balancer."""

from florin.ops.fleet import desired_state
from florin.ops.fleet.operation_lock import Operation
from florin.ops.postgres import connection_budget
from florin.ops.postgres.connection_budget import ConnectionBudget
from florin.ops.rollout.executor import FleetContext, serving_goal
from florin.ops.system import memory, processes
from florin.ops.system.console import OperatorError

_MB = 2**20
_SPARE_BYTES = 64 * _MB  # of the machine, which is not planned away


async def require_connections(running: FleetContext, change: Operation) -> None:
    """Refuse a change that needs more connections than the database server has.

    Instances that run in addition during a batch count as well, and those of the standby, which a
    new release replaces.
    """
    kept = desired_state.load_desired_state(running.home)
    standby = 0 if kept.standby is None or change.release else len(kept.standby.marks)
    instances = len(serving_goal(change.goal))
    budget = await _budget(
        running, instances + change.batch + standby, len(change.goal) - instances
    )
    budget.require()


async def require_two_sets(running: FleetContext, change: Operation) -> None:
    """Refuse a blue-green deployment whose two sets of instances do not fit at the same time."""
    green = len(serving_goal(change.goal))
    blue = len(serving_goal(change.undo))
    slots = running.topology.balancer.edge.timing.slots
    if blue + green > slots:
        raise OperatorError(
            f"Blue-green needs {blue} + {green} instances at the same time, and the balancer has"
            f" {slots} server slots. Run florin deploy --rolling, or florin scale api={slots // 2}."
        )
    budget = await _budget(running, blue + green, len(change.goal) - green)
    if not budget.fits:
        raise OperatorError(
            f"Too few database connections for both sets: {budget.describe()}. Run florin deploy"
            f" --rolling, run at most {budget.instances_max // 2} instances, lower"
            " connection_limit in DATABASE_URL or raise max_connections."
        )
    require_memory(memory.available_memory(), instance_memory(running), green)


def instance_memory(running: FleetContext) -> int:
    """Return the resident memory of the largest running instance, in bytes."""
    parts = running.fleet.fleet.of("api")
    return max((processes.process_usage(p.process)[1] for p in parts if p.process), default=0)


def require_memory(available: int | None, each: int, count: int) -> None:
    """Refuse `count` more instances of `each` bytes where they do not fit; None: not known."""
    if available is None or available >= count * each + _SPARE_BYTES:
        return
    raise OperatorError(
        f"Too little memory for both sets: {count} more instances need {count} x {each // _MB} MB,"
        f" {available // _MB} MB are available, and {_SPARE_BYTES // _MB} MB of them stay free. Run"
        " florin deploy --rolling, which adds one instance, or fewer instances (florin scale)."
    )


async def _budget(running: FleetContext, instances: int, workers: int) -> ConnectionBudget:
    return await connection_budget.read_budget(
        running.topology.database, instances, workers, replicas=running.topology.replicas
    )
