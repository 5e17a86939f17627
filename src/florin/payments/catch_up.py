"""Catch-up: read the events that a gateway has, for webhooks that were lost.

Runs every five minutes over the events of the last hour, so a lost webhook costs minutes. Events
that were received already change nothing. Gateways themselves repeat webhooks for days: that covers
a longer stop of all workers.
"""

from datetime import timedelta

from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateway_directory import GatewayDirectory
from florin.payments.gateway_event import receive_event

WINDOW = timedelta(hours=1)
PROVIDERS = ("stripe", "paypal")
_log = logging.get_logger()


async def catch_up_with_gateways(database: Database, gateways: GatewayDirectory) -> int:
    """Return how many events were new. A gateway that is away does not hold up the others."""
    row = await database.one("select clock_timestamp() as now")
    assert row is not None
    new = 0
    for provider in PROVIDERS:
        for each in await gateways.connected(provider):
            try:
                events = await each.gateway.recent_events(row["now"] - WINDOW)
            except GatewayUnavailable as error:
                _log.warning("gateway unavailable", provider=provider, reason=str(error)[:200])
                continue
            for event in events:
                new += await receive_event(database, each.id, event, in_job=True)
    return new
