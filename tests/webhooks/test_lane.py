"""Lane: an attempt has its outcome written once, despite deadlocks and the end of its lane, and by
no lane that lost its lease.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.kit.queue.job import LeaseLost, QueuedJob
from florin.webhooks.addresses import AddressRules
from florin.webhooks.jobs import follow_events
from florin.webhooks.lane import WebhookSender, deliver_lane
from tests.conftest import Urls
from tests.support.api_calls import issue
from tests.support.connections import connected
from tests.support.instance import SECRETS, Shop
from tests.support.receivers.webhook_receiver import WebhookReceiver
from tests.webhooks.test_fan_out import FAN_OUT, deliveries, endpoint

# The first update of a delivery after this fails as the victim of a deadlock does: a
# sequence counts although its transaction is undone.
UNDO_ONE = """
create sequence florin.undone;
create function florin.undo_one() returns trigger language plpgsql security definer as $$
begin
  if nextval('florin.undone') = 1 then
    raise exception 'deadlock detected' using errcode = '40P01';
  end if;
  return new;
end $$;
create trigger undo_one before update on florin.webhook_delivery
  for each row execute function florin.undo_one();
"""


@pytest.fixture(autouse=True)
async def only_ours(owner: Any) -> AsyncGenerator[None]:
    await owner.execute(
        "update florin.webhook_endpoint set state = 'deleted', disabled_reason = null;"
        " delete from florin.queue_job where queue = 'webhook-delivery'"
    )
    yield
    await owner.execute("delete from florin.queue_job where queue = 'webhook-delivery'")


async def _blocked(owner: Any) -> None:
    """Return once a transaction waits for a lock."""
    async with asyncio.timeout(10):
        while True:
            if await owner.fetchval("select exists (select from pg_locks where not granted)"):
                return
            await asyncio.sleep(0.01)


async def _running_job(
    owner: Any, database: Database, kind: str, payload: dict[str, Any], dedupe: str, **more: Any
) -> QueuedJob:
    """A job of the queue that a worker holds."""
    row = await owner.fetchrow(
        "insert into florin.queue_job (queue, kind, state, fence, lease_until, payload, dedupe)"
        " values ('webhook-delivery', $1, 1, nextval('florin.queue_fence'),"
        " now() + interval '1 hour', $2, $3)"
        " returning *, payload::text as text, null as log_position, 0.0::float8 as waited_s",
        kind, msgspec.json.encode(payload).decode(), dedupe,
    )  # fmt: skip
    held = {**row, "payload": row["text"]}
    return QueuedJob(held, database, lease=timedelta(hours=1), **more)


async def _running_lane(
    owner: Any, database: Database, endpoint_id: UUID, **more: Any
) -> QueuedJob:
    lane = await owner.fetchval(
        "select lane from florin.webhook_endpoint where id = $1", endpoint_id
    )
    return await _running_job(owner, database, "deliver", {"lane": lane}, f"lane:{lane}", **more)


def _sender(database: Database) -> WebhookSender:
    rules = AddressRules.of("test", ("127.0.0.0/8",))
    return WebhookSender(database, Sealer(SECRETS["FLORIN_SEAL_KEY"]), rules)


async def test_waking_a_lane_waits_for_no_outcome(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database, urls: Urls
) -> None:
    """While it is woken, a lane that writes outcomes takes the endpoints that got new events."""
    found = await endpoint(http)
    await issue(http, shop, 1)
    lane = await _running_lane(owner, database, found)
    follow = await _running_job(owner, database, "follow", {}, "follow")
    async with connected(urls.owner) as other:
        writing = other.transaction()
        await writing.start()
        await other.execute("update florin.queue_job set attempts = 1 where id = $1", lane.id)
        following = asyncio.ensure_future(follow_events(follow))
        await _blocked(owner)
        await other.execute("update florin.webhook_endpoint set failures = 0 where id = $1", found)
        await writing.commit()
        await following
    assert len(await deliveries(owner, found)) == 1


async def test_outcomes_that_a_deadlock_undid_are_written_again(
    http: httpx.AsyncClient,
    shop: Shop,
    owner: Any,
    database: Database,
    receiver: WebhookReceiver,
) -> None:
    found = await endpoint(http, receiver.url())
    await issue(http, shop, 1)
    await database.all(FAN_OUT)
    await owner.execute(UNDO_ONE)
    try:
        job = await _running_lane(owner, database, found)
        assert await deliver_lane(job, _sender(database)) is None
    finally:
        await owner.execute("drop function florin.undo_one cascade; drop sequence florin.undone")
    assert len(receiver.messages["/hook"]) == 1
    (delivery,) = await deliveries(owner, found)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)


async def test_the_end_of_a_lane_waits_for_its_outcomes(
    http: httpx.AsyncClient,
    shop: Shop,
    owner: Any,
    database: Database,
    receiver: WebhookReceiver,
    urls: Urls,
) -> None:
    found = await endpoint(http, receiver.url())
    await issue(http, shop, 1)
    await database.all(FAN_OUT)
    stop = asyncio.Event()
    job = await _running_lane(owner, database, found, stopping=stop.is_set)
    async with connected(urls.owner) as other:
        held = other.transaction()
        await held.start()
        await other.execute("update florin.webhook_endpoint set failures = 0 where id = $1", found)
        lane = asyncio.ensure_future(deliver_lane(job, _sender(database)))
        await _blocked(owner)  # it writes the outcome
        stop.set()
        ended, _ = await asyncio.wait({lane}, timeout=1)
        assert not ended
        await held.commit()
        await lane
    (delivery,) = await deliveries(owner, found)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)


@pytest.mark.slow
async def test_a_lane_that_lost_its_lease_writes_nothing(
    http: httpx.AsyncClient,
    shop: Shop,
    owner: Any,
    database: Database,
    receiver: WebhookReceiver,
) -> None:
    found = await endpoint(http, receiver.url())
    await issue(http, shop, 1)
    await database.all(FAN_OUT)
    lane = await owner.fetchval("select lane from florin.webhook_endpoint where id = $1", found)
    row: Any = {
        "id": -1,  # no such job any more
        "queue": "webhook-delivery",
        "kind": "deliver",
        "version": 1,
        "priority": 0,
        "attempts": 1,
        "crashes": 0,
        "fence": -1,
        "trace": None,
        "log_position": None,
        "waited_s": 0.0,
        "payload": f'{{"lane": {lane}}}',
    }
    job = QueuedJob(row, database, lease=timedelta(seconds=10))
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(20):
            await deliver_lane(job, _sender(database))
    assert len(receiver.messages["/hook"]) == 1  # it was sent, and another lane sends it again
    (delivery,) = await deliveries(owner, found)
    assert (delivery["state"], delivery["attempts"]) == ("pending", 0)
