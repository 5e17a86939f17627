"""Endpoint changes: other settings, a new secret, a replay of events, the end."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.identity.audit_log import AuditActor, record_audit
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, Refusal
from florin.kit.http.body import Instant, Request, Text
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.queue.enqueue import enqueue
from florin.webhooks.endpoint import (
    EventNames,
    Url,
    WebhookEndpoint,
    endpoint_facts,
    endpoint_from_row,
    parse_endpoint_id,
    secret_binding,
)
from florin.webhooks.follow import FOLLOW
from florin.webhooks.signing import make_webhook_secret

ROTATION_H = 24  # both secrets sign for so long


class EndpointDisabled(Refusal):
    """This endpoint is disabled; enable it first."""

    code = "endpoint_disabled"
    status = 409


class EndpointChange(Request, kw_only=True):
    """A field that is left out is not changed. An endpoint that is enabled again gets the events
    from then on; a replay sends earlier ones.
    """

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: EventNames | msgspec.UnsetType = msgspec.UNSET
    description: Text | msgspec.UnsetType | None = msgspec.UNSET
    state: Literal["enabled", "disabled"] | msgspec.UnsetType = msgspec.UNSET


class ReplayRequest(Request, kw_only=True):
    """The matching events since this instant are sent, also those that were delivered before."""

    since: Instant


_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)  # all events

_LOCKED = """
select * from florin.webhook_endpoint
where merchant = $1 and id = $2 and state <> 'deleted' for no key update
"""
_CHANGE = """
update florin.webhook_endpoint e set url = $3, events = $4, description = $5, state = $6,
  disabled_reason = case when $6 = 'disabled' then coalesce(disabled_reason, 'by its merchant') end,
  failures = case when $6 = 'enabled' and ($7 or url <> $3) then 0 else failures end,
  failing_since = case when $6 = 'enabled' and ($7 or url <> $3) then null else failing_since end,
  paused_until = case when $6 = 'enabled' and ($7 or url <> $3) then null else paused_until end,
  cursor_at = case when $7 then clock(merchant) else cursor_at end,
  cursor_event = case when $7 then $8 else cursor_event end
where merchant = $1 and id = $2 returning *
"""
_ROTATE = """
update florin.webhook_endpoint set previous_sealed = secret_sealed, secret_sealed = $3,
  previous_until = clock_timestamp() + make_interval(hours => $4)
where merchant = $1 and id = $2 returning *
"""
# The cursor is before all events of the instant. A replay goes back; it never skips what waits.
_REPLAY = """
update florin.webhook_endpoint set cursor_at = least(cursor_at, $3),
  cursor_event = case when $3 <= cursor_at then $4 else cursor_event end
where merchant = $1 and id = $2 returning *
"""
_DELETE = """
update florin.webhook_endpoint set state = 'deleted', disabled_reason = null
where merchant = $1 and id = $2 returning *
"""


async def change_endpoint(
    database: Database, by: AuditActor, text: str, request: EndpointChange
) -> WebhookEndpoint:
    """Raises NotFound. A new URL was checked by the caller."""
    async with database.transaction() as tx:
        row = await _lock(tx, by.merchant, text)
        was = endpoint_from_row(row)
        given = {
            field: value
            for field in EndpointChange.__struct_fields__
            if (value := getattr(request, field)) is not msgspec.UNSET
        }
        then = msgspec.structs.replace(was, **given)
        changed = await tx.one(
            _CHANGE,
            by.merchant,
            row["id"],
            then.url,
            sorted(set(then.events)),
            then.description,
            then.state,
            then.state == "enabled" and was.state == "disabled",
            ids.NONE,
        )
        assert changed is not None
        made = endpoint_from_row(changed)
        await enqueue(tx, FOLLOW)
        before, after = endpoint_facts(was), endpoint_facts(made)
        await record_audit(tx, by, "webhook_endpoint.changed", made.id, before=before, after=after)
    return made


async def rotate_secret(
    database: Database, sealer: Sealer, by: AuditActor, text: str
) -> WebhookEndpoint:
    """Make a new secret; the previous one also signs for ROTATION_H hours. Raises NotFound."""
    secret = make_webhook_secret()
    async with database.transaction() as tx:
        endpoint = (await _lock(tx, by.merchant, text))["id"]
        sealed = sealer.seal(secret, bound_to=secret_binding(by.merchant, endpoint))
        row = await tx.one(_ROTATE, by.merchant, endpoint, sealed, ROTATION_H)
        assert row is not None
        made = endpoint_from_row(row)
        await record_audit(tx, by, "webhook_endpoint.secret_rotated", made.id)
    return msgspec.structs.replace(made, secret=secret)


async def replay_events(
    database: Database, by: AuditActor, text: str, since: datetime
) -> WebhookEndpoint:
    """Send the events since an instant again, in their order. Raises NotFound, EndpointDisabled."""
    async with database.transaction() as tx:
        row = await _lock(tx, by.merchant, text)
        if row["state"] != "enabled":
            raise EndpointDisabled
        replayed = await tx.one(_REPLAY, by.merchant, row["id"], max(since, _BEFORE), ids.NONE)
        assert replayed is not None
        made = endpoint_from_row(replayed)
        await record_audit(
            tx, by, "webhook_endpoint.replayed", made.id, after={"since": since.isoformat()}
        )
    return made


async def delete_endpoint(database: Database, by: AuditActor, text: str) -> WebhookEndpoint:
    """Send nothing more. Its deliveries can be read for 30 days. Raises NotFound."""
    async with database.transaction() as tx:
        row = await _lock(tx, by.merchant, text)
        was = endpoint_from_row(row)
        await tx.one(_DELETE, by.merchant, row["id"])
        await record_audit(tx, by, "webhook_endpoint.deleted", was.id, before=endpoint_facts(was))
    return was


async def _lock(tx: Tx, merchant: UUID, text: str) -> Row:
    """Raises NotFound."""
    row = await tx.one(_LOCKED, merchant, parse_endpoint_id(text))
    if row is None:
        raise NotFound
    return row
