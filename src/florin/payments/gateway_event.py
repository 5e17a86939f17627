"""Gateway event: a webhook of a gateway, as a durable hint to look at a payment.

Its body decides nothing: it is verified, recorded once, and a look is enqueued in the same
transaction. An event of a payment that is not ours is answered like any other, since other systems
may use the same account.
"""

from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import Refusal
from florin.kit.observability import logging
from florin.kit.postgres.database import Database, Row
from florin.kit.queue.enqueue import enqueue, enqueue_now
from florin.payments.gateway_requests import DECLINED_EVENT, count_payment_attempt
from florin.payments.jobs import look_job

_log = logging.get_logger()

_BY_MARKS = """
select merchant, id from florin.payment
where merchant = $3 and id = $4 and gateway = $1 and ($2::uuid is null or merchant = $2)
"""
_BY_REFERENCE = """
select merchant, id from florin.payment
where reference = $3 and gateway = $1 and ($2::uuid is null or merchant = $2)
"""
_BY_CAPTURE = """
select merchant, id from florin.payment
where capture_ref = $3 and gateway = $1 and ($2::uuid is null or merchant = $2)
"""
_INSERT = """
insert into florin.gateway_event as e (merchant, gateway, event_ref, type, object_ref, received_at)
values ($1, $2, $3, $4, $5, clock_timestamp())
on conflict (merchant, gateway, event_ref) do update set seen = e.seen + 1
returning seen
"""


class WebhookNotAuthentic(Refusal):
    """The signature does not match: this is not from the gateway."""

    code = "webhook_not_authentic"
    status = 400


class GatewayEvent(msgspec.Struct, kw_only=True, frozen=True):
    """What an event is about: the marks that Florin set, or the gateway's own references."""

    ref: str
    kind: str
    merchant: UUID | None = None
    payment: UUID | None = None
    reference: str | None = None
    capture_ref: str | None = None


async def receive_event(
    database: Database,
    gateway: UUID,
    owner: UUID | None,
    event: GatewayEvent,
    *,
    in_job: bool = False,
) -> bool:
    """Record an authentic event and enqueue a look; return whether it is about a payment of ours
    and new. `owner`: the merchant whose own gateway it is, and whose payments alone it is about.
    `in_job`: a job found it, so the look goes straight to the queue.
    """
    row = await _find_payment(database, gateway, owner, event)
    if row is None:
        _log.info("an event of another system", reference=event.ref, kind=event.kind)
        return False
    async with database.transaction() as tx:
        seen: int = await tx.value(
            _INSERT, row["merchant"], gateway, event.ref, event.kind, ids.show_id("pay", row["id"])
        )
        if seen == 1:
            look = look_job(row["merchant"], row["id"], cause=event.ref)
            await (enqueue_now if in_job else enqueue)(tx, look)
    if seen == 1 and event.kind == DECLINED_EVENT:
        count_payment_attempt("stripe", "failed")
    return seen == 1


async def _find_payment(
    database: Database, gateway: UUID, owner: UUID | None, event: GatewayEvent
) -> Row | None:
    if event.payment is not None and event.merchant is not None:
        return await database.one(_BY_MARKS, gateway, owner, event.merchant, event.payment)
    row = None
    if event.reference is not None:
        row = await database.one(_BY_REFERENCE, gateway, owner, event.reference)
    if row is None and event.capture_ref is not None:
        row = await database.one(_BY_CAPTURE, gateway, owner, event.capture_ref)
    return row
