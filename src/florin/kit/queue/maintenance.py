"""Maintenance: tasks that any worker does for all: expired leases and scheduled jobs."""

from datetime import UTC, datetime, timedelta

import msgspec
from cronsim import CronSim

from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.kit.queue.config import Schedule, WorkPlan

EVERY_S = 1.0

_DECLARE = """
insert into florin.queue as q (name, importance, attempts, max_running, max_running_per_worker,
  max_running_per_merchant, per_second, objective_s)
select * from unnest($1::text[], $2::smallint[], $3::smallint[], $4::integer[], $5::integer[],
  $6::integer[], $7::real[], $8::real[])
on conflict (name) do update set importance = excluded.importance, attempts = excluded.attempts,
  max_running = excluded.max_running, max_running_per_worker = excluded.max_running_per_worker,
  max_running_per_merchant = excluded.max_running_per_merchant,
  per_second = excluded.per_second, objective_s = excluded.objective_s
where (q.importance, q.attempts, q.max_running, q.max_running_per_worker,
    q.max_running_per_merchant, q.per_second, q.objective_s)
  is distinct from (excluded.importance, excluded.attempts, excluded.max_running,
    excluded.max_running_per_worker, excluded.max_running_per_merchant, excluded.per_second,
    excluded.objective_s)
"""

_REAP = """
select queue, count(*) as jobs, count(*) filter (where dead) as dead
from queue_reap() group by queue
"""

_log = logging.get_logger()


async def declare_queues(database: Database, plan: WorkPlan) -> None:
    """Store the queues' rules in the database, for every worker."""
    queues = plan.queues
    async with database.connection() as connection:
        await connection.execute(
            _DECLARE,
            [queue.name for queue in queues],
            [queue.importance for queue in queues],
            [queue.attempts for queue in queues],
            [queue.max_running for queue in queues],
            [queue.max_running_per_worker for queue in queues],
            [queue.max_running_per_merchant for queue in queues],
            [queue.per_second for queue in queues],
            [queue.objective_s for queue in queues],
        )


async def maintain(database: Database, plan: WorkPlan, ticks: dict[str, datetime]) -> None:
    """Run maintenance once. `ticks` caches the last recorded tick of each schedule."""
    reaped = await database.all(_REAP)
    for row in reaped:
        _log.warning("a worker was lost with its jobs", **row)
    if not plan.schedules:
        return
    row = await database.one("select clock_timestamp() as now")
    assert row is not None
    for schedule in plan.schedules:
        tick = last_tick(schedule, row["now"])
        if ticks.get(schedule.name) == tick:
            continue
        kind = plan.queue(schedule.queue).kinds[schedule.kind]
        await database.one(
            "select queue_tick($1, $2, $3, $4, $5, $6)",
            schedule.name,
            tick,
            schedule.queue,
            schedule.kind,
            kind.version,
            msgspec.json.encode({"tick": tick}).decode(),
        )
        ticks[schedule.name] = tick


def last_tick(schedule: Schedule, now: datetime) -> datetime:
    """The latest tick that is not after `now`. Of missed ticks only this one is caught up: every
    scheduled job handles all that is due, not only what was due at its tick.
    """
    after = now.astimezone(UTC) + timedelta(seconds=1)
    return next(CronSim(schedule.cron, after, reverse=True))
