"""Jobs: make deliveries of new events, wake the lanes that have work, delete old deliveries."""

import time

from florin.kit.postgres.database import Tx
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.kit.queue.job import Continue, QueuedJob
from florin.webhooks.delivery import RETRIED_DAYS
from florin.webhooks.follow import FOLLOW, QUEUE

KEPT_DAYS = 30

_EACH, _MOST = 500, 5000  # deliveries made at once: for an endpoint, in all
_PAUSE_S = 0.25
_SHARE = 10  # rests this many times as long as it worked
_DELETED_AT_ONCE = 5000

_GIVE_UP = """
update florin.webhook_delivery d set state = 'failed'
from florin.webhook_endpoint e
where (e.state <> 'enabled' or e.failing_since < clock_timestamp() - make_interval(days => $1))
  and d.merchant = e.merchant and d.endpoint = e.id and d.state = 'pending'
  and d.give_up_at < clock_timestamp()
"""
_DELETE = """
with old as (
  select d.merchant, d.id from florin.webhook_delivery d
  where d.created_at < clock_timestamp() - make_interval(days => $1) and d.state <> 'pending'
  order by d.created_at limit $2 for update skip locked
)
delete from florin.webhook_delivery d using old o where d.merchant = o.merchant and d.id = o.id
"""
_DELETE_ENDPOINTS = """
delete from florin.webhook_endpoint e where e.state = 'deleted' and not exists (
  select from florin.webhook_delivery d where d.merchant = e.merchant and d.endpoint = e.id)
"""


async def follow_events(job: QueuedJob) -> Continue | None:
    """Make deliveries of new events and wake the lanes. One such job runs as long as an endpoint
    is enabled; the schedule starts it.
    """
    started = time.monotonic()
    async with job.effect() as tx:
        if not await tx.value(
            "select exists (select from florin.webhook_endpoint where state = 'enabled')"
        ):
            return None
        row = await tx.one(
            "select made, more from webhook_fan_out($1, $2, $3)", _EACH, _MOST, RETRIED_DAYS
        )
        assert row is not None
    # Not in the same transaction: to be woken, a lane that runs is waited for, and its transaction
    # may wait for the endpoints that the fan-out changed.
    async with job.effect() as tx:
        await wake_lanes(tx)
    worked = time.monotonic() - started
    return Continue(delay_s=0 if row["more"] else max(_PAUSE_S, worked * _SHARE))


async def wake_lanes(tx: Tx) -> None:
    """Enqueue the lanes with due deliveries that do not run already."""
    rows = await tx.all("select lane from webhook_due_lanes() as lane")
    if rows:
        await enqueue_now(
            tx,
            *(
                NewJob(
                    queue=QUEUE,
                    kind="deliver",
                    payload={"lane": row["lane"]},
                    dedupe=f"lane:{row['lane']}",
                )
                for row in rows
            ),
        )


async def start_following(job: QueuedJob) -> None:
    """Start the job that follows events, if it does not run."""
    async with job.effect(last=True) as tx:
        await enqueue_now(tx, FOLLOW)


async def delete_old_deliveries(job: QueuedJob) -> Continue | None:
    """Delete deliveries after 30 days, then deleted endpoints without any; end those whose time is
    over while their endpoint was paused or disabled.
    """
    async with job.effect() as tx:
        await tx.run(_GIVE_UP, RETRIED_DAYS)
    while not job.stopping:
        async with job.effect() as tx:
            status = await tx.run(_DELETE, KEPT_DAYS, _DELETED_AT_ONCE)
        if int(status.rpartition(" ")[2]) < _DELETED_AT_ONCE:
            async with job.effect() as tx:
                await tx.run(_DELETE_ENDPOINTS)
            return None
    return Continue()
