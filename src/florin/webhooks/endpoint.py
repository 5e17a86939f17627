"""Endpoint: a URL of a merchant that its events are sent to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.identity.audit_log import AuditActor, record_audit
from florin.identity.quotas import require_quota_left
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound
from florin.kit.http.body import LongText, Request, Text, fingerprint
from florin.kit.postgres.database import Database, Reader
from florin.kit.postgres.idempotency import claim_key
from florin.kit.queue.enqueue import enqueue
from florin.webhooks.follow import FOLLOW
from florin.webhooks.signing import make_webhook_secret

LANES = 3  # jobs that deliver at the same time; an endpoint belongs to one of them
SECRET_SHOWN_H = 24  # a repeated creation shows the secret again for so long

EventName = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[a-z][a-z_]*\.(\*|[a-z][a-z_]*))$(?!\n)",
        max_length=80,
        description="The type of an event, `card.*` for all types of a kind, or `*` for all.",
        examples=["*"],
    ),
]
EventNames = Annotated[list[EventName], Meta(min_length=1, max_length=50)]
Secret = Annotated[str, Meta(examples=["whsec_…"])]
Url = Annotated[LongText, Meta(examples=["https://example.com/florin"])]


class EndpointRequest(Request, kw_only=True):
    """Events of these types are sent to `url`, from the moment of the creation."""

    url: Url
    events: EventNames
    description: Text | None = None


class WebhookEndpoint(msgspec.Struct, kw_only=True):
    """An endpoint. `secret` signs its messages and is shown only when it is made.
    `previous_secret_until`: until then the secret before the last rotation signs, too.
    `failing_since`: no attempt succeeded since; after five days the endpoint is disabled.
    """

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: Url
    events: EventNames
    description: str | None
    state: Literal["enabled", "disabled"]
    disabled_reason: str | None
    failing_since: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    secret: Secret | msgspec.UnsetType = msgspec.UNSET


_INSERT = """
insert into florin.webhook_endpoint
  (merchant, id, url, events, description, secret_sealed, lane, cursor_at, cursor_event, made_by)
values ($1, $2, $3, $4, $5, $6, $7, clock($1), $8, $9) returning *
"""
_FIND = """
select *, clock_timestamp() < created_at + make_interval(hours => $3) as is_new
from florin.webhook_endpoint where merchant = $1 and id = $2 and state <> 'deleted'
"""


def secret_binding(merchant: UUID, endpoint: UUID) -> bytes:
    """What the sealed secret of an endpoint is bound to."""
    return b"webhook" + merchant.bytes + endpoint.bytes


async def create_endpoint(
    database: Database,
    sealer: Sealer,
    by: AuditActor,
    request: EndpointRequest,
    *,
    key: str | None,
) -> tuple[WebhookEndpoint, bool]:
    """Create an endpoint whose URL was checked; return it, and whether an earlier request with the
    same idempotency key had created it. Raises QuotaExceeded, IdempotencyKeyReused.
    """
    endpoint, secret = ids.new_id(), make_webhook_secret()
    async with database.transaction() as tx:
        if key is not None:
            first = await claim_key(
                tx,
                merchant=by.merchant,
                key=key,
                operation="create-webhook-endpoint",
                fingerprint=fingerprint("create-webhook-endpoint", request),
                noun=endpoint,
            )
            if first != endpoint:
                return await _repeated(tx, sealer, by.merchant, first), True
        await require_quota_left(tx, by.merchant, "webhook_endpoints")
        row = await tx.one(
            _INSERT,
            by.merchant,
            endpoint,
            request.url,
            sorted(set(request.events)),
            request.description,
            sealer.seal(secret, bound_to=secret_binding(by.merchant, endpoint)),
            endpoint.int % LANES,
            ids.NONE,
            by.actor,
        )
        assert row is not None
        made = endpoint_from_row(row)
        await enqueue(tx, FOLLOW)
        await record_audit(tx, by, "webhook_endpoint.created", made.id, after=endpoint_facts(made))
    return msgspec.structs.replace(made, secret=secret), False


async def _repeated(reads: Any, sealer: Sealer, merchant: UUID, endpoint: UUID) -> WebhookEndpoint:
    row = await reads.one(_FIND, merchant, endpoint, SECRET_SHOWN_H)
    if row is None:
        raise NotFound
    made = endpoint_from_row(row)
    if not row["is_new"]:
        return made
    secret = sealer.unseal(row["secret_sealed"], bound_to=secret_binding(merchant, endpoint))
    return msgspec.structs.replace(made, secret=secret)


async def find_endpoint(reads: Reader, merchant: UUID, text: str) -> WebhookEndpoint:
    """Raises NotFound."""
    row = await reads.one(_FIND, merchant, parse_endpoint_id(text), SECRET_SHOWN_H)
    if row is None:
        raise NotFound
    return endpoint_from_row(row)


async def list_endpoints(
    reads: Reader, merchant: UUID, *, limit: int, after: UUID | None
) -> list[WebhookEndpoint]:
    rows = await reads.all(
        "select * from florin.webhook_endpoint where merchant = $1 and state <> 'deleted'"
        " and ($2::uuid is null or id < $2) order by id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [endpoint_from_row(row) for row in rows]


def parse_endpoint_id(text: str) -> UUID:
    """Raises NotFound."""
    return ids.require_id("whe", text)


def endpoint_facts(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """What the audit log records of an endpoint."""
    return {
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "state": endpoint.state,
    }


def endpoint_from_row(row: Mapping[str, Any]) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=ids.show_id("whe", row["id"]),
        url=row["url"],
        events=list(row["events"]),
        description=row["description"],
        state=row["state"],
        disabled_reason=row["disabled_reason"],
        failing_since=row["failing_since"],
        previous_secret_until=row["previous_until"],
        created_at=row["created_at"],
    )
