"""Failover: another PostgreSQL server takes over because somebody asked for it."""

import asyncio
import time

from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import Order, Reply, Tell
from florin.ops.postgres import failover as election
from florin.ops.postgres.failover_monitor import name_roles
from florin.ops.rollout.executor import FleetContext
from florin.ops.system.console import OperatorError


async def fail_over(running: FleetContext, order: Order, _lock: Operation, tell: Tell) -> Reply:
    """Have another PostgreSQL server take over; requests wait for it."""
    members, begun = running.topology.members, time.monotonic()
    if members is None or len(members.servers) == 1:
        raise OperatorError("There is no replica that could take over; florin up --replicas 2.")
    before = members.record().primary
    others = members.others(before)
    if order.name and order.name not in others:
        raise OperatorError(f"{order.name} is no replica; there are: {', '.join(others)}.")
    seen = await election.observe_members(others)
    if (order.name and order.name not in seen) or not seen:
        raise OperatorError(f"{order.name or 'No replica'} does not answer; florin status.")
    members.request_primary(order.name or "", accept_loss=bool(order.options.get("accept_loss")))
    part = running.fleet.fleet.part(before)
    if part is not None and part.process is not None:
        tell(f"Stopping {before} in order; who takes over receives all it wrote.")
        await running.fleet.restart(before)
    else:
        await asyncio.to_thread(election.hand_over, members, before)
    name_roles(running.fleet, members)
    now = members.record().primary
    if now == before:
        raise OperatorError(
            f"{before} stays the primary: nobody else was known to have all it wrote. With"
            " --accept-loss another one takes over all the same."
        )
    said = f"{now} is the primary, after {before}; {time.monotonic() - begun:.1f} s in all."
    return Reply(said, done=True, document={"primary": now, "before": before})
