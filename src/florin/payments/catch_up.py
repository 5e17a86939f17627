"""Catch-up: read the events that a gateway has, for webhooks that were lost.

Runs every five minutes over the events of the last hour, so a lost webhook costs minutes. Events
that were received already change nothing. Gateways themselves repeat webhooks for days: that covers
a longer stop of all workers. Each account of a merchant has a job of its own: one that is away does
not hold up the others.
"""

from datetime import timedelta
from uuid import UUID

from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import enqueue_now
from florin.kit.queue.job import QueuedJob
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateway_directory import ConnectedGateway, GatewayDirectory
from florin.payments.gateway_event import receive_event
from florin.payments.jobs import account_events_job

WINDOW = timedelta(hours=1)
PROVIDERS = ("stripe", "paypal")
PAGE = 500
_log = logging.get_logger()

# Refunds and disputes of payments come for months after the account takes no new ones.
_ACCOUNTS = """
select merchant, id from florin.gateway
where (off_at is null or off_at > clock_timestamp() - interval '180 days')
  and ($1::uuid is null or (merchant, id) > ($1, $2))
order by merchant, id limit $3
"""


async def catch_up_with_gateways(
    job: QueuedJob, database: Database, gateways: GatewayDirectory
) -> int:
    """Read the events of the installation's own gateways, and enqueue a job for each account of a
    merchant. Return how many events were new.
    """
    new = 0
    for provider in PROVIDERS:
        for each in gateways.installed(provider):
            new += await _receive_events(database, each, provider)
    merchant: UUID | None = None
    gateway: UUID | None = None
    while True:
        async with job.effect() as tx:
            rows = await tx.all(_ACCOUNTS, merchant, gateway, PAGE)
            if rows:
                found = (account_events_job(row["merchant"], row["id"]) for row in rows)
                await enqueue_now(tx, *found)
        if len(rows) < PAGE:
            return new
        merchant, gateway = rows[-1]["merchant"], rows[-1]["id"]


async def catch_up_with_account(
    job: QueuedJob, database: Database, gateways: GatewayDirectory
) -> int:
    """Payload: `merchant`, `gateway`. Return how many events were new."""
    try:
        account = await gateways.own(UUID(job.payload["merchant"]), UUID(job.payload["gateway"]))
    except GatewayUnavailable as error:
        _log.warning("gateway unavailable", reason=str(error)[:200])
        return 0
    return await _receive_events(database, account, "own")


async def _receive_events(database: Database, account: ConnectedGateway, name: str) -> int:
    row = await database.one("select clock_timestamp() as now")
    assert row is not None
    try:
        events = await account.gateway.recent_events(row["now"] - WINDOW)
    except GatewayUnavailable as error:
        _log.warning("gateway unavailable", provider=name, reason=str(error)[:200])
        return 0
    new = 0
    for event in events:
        new += await receive_event(database, account.id, account.owner, event, in_job=True)
    return new
