"""Failover: make another PostgreSQL server the primary at the operator's request."""

import asyncio
import time

from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.orders import Order, Reply, ReportProgress
from florin.ops.postgres import failover as election
from florin.ops.postgres.failover_monitor import name_roles
from florin.ops.rollout.executor import FleetContext
from florin.ops.system.console import OperatorError


async def fail_over(
    running: FleetContext, order: Order, _lock: Operation, report: ReportProgress
) -> Reply:
    """Make another PostgreSQL server the primary; requests wait meanwhile."""
    members, begun = running.topology.members, time.monotonic()
    if members is None or len(members.servers) == 1:
        raise OperatorError(
            "There is no PostgreSQL replica that could take over; add one with florin up"
            " --replicas 2."
        )
    before = members.record().primary
    others = members.others(before)
    if order.name and order.name not in others:
        raise OperatorError(
            f"{order.name} is not a PostgreSQL replica; choose one of: {', '.join(others)}."
        )
    seen = await election.observe_members(others)
    if (order.name and order.name not in seen) or not seen:
        raise OperatorError(f"{order.name or 'Every replica'} is unreachable. Check florin status.")
    members.request_primary(order.name or "", accept_loss=bool(order.options.get("accept_loss")))
    part = running.fleet.fleet.part(before)
    if part is not None and part.process is not None:
        report(f"Stopping {before}; the next primary receives everything it wrote.")
        await running.fleet.restart(before)
    else:
        await asyncio.to_thread(election.hand_over, members, before)
    name_roles(running.fleet, members)
    now = members.record().primary
    if now == before:
        raise OperatorError(
            f"{before} stays the primary: no replica is known to have everything it wrote. To make"
            " a replica the primary anyway and lose the difference, add --accept-loss."
        )
    said = f"{now} is the primary (before: {before}); took {time.monotonic() - begun:.1f} s."
    return Reply(said, done=True, document={"primary": now, "before": before})
