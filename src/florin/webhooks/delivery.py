"""Delivery: an event on its way to an endpoint, with its attempts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.identity.audit_log import AuditActor, record_audit
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database, Reader
from florin.webhooks.endpoint_changes import EndpointDisabled
from florin.webhooks.http_client import Attempt

RETRIED_DAYS = 3
ATTEMPTS_SHOWN = 15

DeliveryState = Literal["pending", "delivered", "failed"]


class DeliveryAttempt(msgspec.Struct, kw_only=True):
    """One try. `status` is the answer's; without an answer `error` says why. `answer` is the
    beginning of the answer's body.
    """

    at: datetime
    status: int | None
    error: str | None
    duration_ms: int
    answer: str


class WebhookDelivery(msgspec.Struct, kw_only=True):
    """An event that is sent to an endpoint. `attempts` counts all tries, `tries` has the last ones.
    A pending delivery is tried again at `next_attempt_at`, at the latest three days after it began.
    """

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    endpoint: str
    event: str
    type: str
    card: str | None
    state: DeliveryState
    attempts: int
    tries: list[DeliveryAttempt]
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime


_RESEND = """
update florin.webhook_delivery d set state = 'pending', next_at = clock_timestamp(),
  give_up_at = clock_timestamp() + make_interval(days => $3), delivered_at = null
where d.merchant = $1 and d.id = $2 returning *
"""
_STATE = """
select e.state from florin.webhook_delivery d
join florin.webhook_endpoint e on e.merchant = d.merchant and e.id = d.endpoint
where d.merchant = $1 and d.id = $2
"""


async def find_delivery(reads: Reader, merchant: UUID, text: str) -> WebhookDelivery:
    """Raises NotFound."""
    row = await reads.one(
        "select * from florin.webhook_delivery where merchant = $1 and id = $2",
        merchant,
        ids.require_id("whd", text),
    )
    if row is None:
        raise NotFound
    return delivery_from_row(row)


async def list_deliveries(
    reads: Reader,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    endpoint: UUID | None = None,
    state: DeliveryState | None = None,
) -> list[WebhookDelivery]:
    """List deliveries, newest first."""
    where = Conditions([merchant])
    where.add_equal("endpoint", endpoint)
    where.add_equal("state", state)
    if after is not None:
        where.add("id < {}", after)
    rows = await reads.all(
        "select * from florin.webhook_delivery where merchant = $1"  # noqa: S608 -- our own text
        f"{where} order by id desc limit {where.bind(limit)}",
        *where.arguments,
    )
    return [delivery_from_row(row) for row in rows]


async def resend_delivery(database: Database, by: AuditActor, text: str) -> WebhookDelivery:
    """Send it again now, for up to three days. Raises NotFound, EndpointDisabled."""
    delivery = ids.require_id("whd", text)
    async with database.transaction() as tx:
        state = await tx.value(_STATE, by.merchant, delivery)
        if state is None:
            raise NotFound
        if state != "enabled":
            raise EndpointDisabled
        row = await tx.one(_RESEND, by.merchant, delivery, RETRIED_DAYS)
        assert row is not None
        await record_audit(tx, by, "webhook_delivery.resent", text)
    return delivery_from_row(row)


def delivery_from_row(row: Mapping[str, Any]) -> WebhookDelivery:
    log = msgspec.json.decode(row["log"], type=list[Attempt])
    return WebhookDelivery(
        id=ids.show_id("whd", row["id"]),
        endpoint=ids.show_id("whe", row["endpoint"]),
        event=ids.show_id("evt", row["event"]),
        type=row["type"],
        card=ids.show_id("crd", row["card"]) if row["card"] else None,
        state=row["state"],
        attempts=row["attempts"],
        tries=[
            DeliveryAttempt(
                at=datetime.fromtimestamp(each.at, UTC),
                status=each.status,
                error=each.error,
                duration_ms=each.duration_ms,
                answer=each.answer,
            )
            for each in log
        ],
        next_attempt_at=row["next_at"] if row["state"] == "pending" else None,
        delivered_at=row["delivered_at"],
        created_at=row["created_at"],
    )
