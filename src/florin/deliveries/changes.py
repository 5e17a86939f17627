"""Changes: correct the address of a delivery, move it, cancel it, send it again."""

from datetime import datetime
from typing import NoReturn
from uuid import UUID

import msgspec

from florin.deliveries.channels.phone_number import NO_NUMBER, read_local_phone
from florin.deliveries.delivery import (
    Delivery,
    delivery_from_row,
    parse_delivery_id,
    secret_binding,
    send_job,
)
from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.email_address import is_email, normalized
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, NotFound, Refusal
from florin.kit.http.body import Request, Text
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.queue.enqueue import enqueue
from florin.kit.timestamps import parse_instant

_LOCK = "select * from florin.delivery where merchant = $1 and id = $2 for no key update"
_UNSENT = ("waiting", "due")
CORRECTABLE = (*_UNSENT, "bounced", "failed")
ERASED = "erased"  # the address of a person who was erased (erase_person.sql)
ENDED = ("sent", "delivered", "bounced", "failed", "cancelled")


class DeliveryStateConflict(Refusal):
    """The state of the delivery does not allow this: see `state` of the delivery."""

    code = "delivery_state"
    status = 409


class DeliveryChange(Request, kw_only=True):
    """A field that is left out is not changed. `address`: an e-mail address, or for a delivery by
    SMS a number, with its country code or as it is dialled in the merchant's country. `due_at`: an
    RFC 3339 instant.
    """

    address: Text | msgspec.UnsetType = msgspec.UNSET
    due_at: Text | msgspec.UnsetType = msgspec.UNSET


async def change_delivery(
    database: Database, by: AuditActor, text: str, request: DeliveryChange
) -> Delivery:
    """Change a delivery that was not sent; also the address of one that could not be sent.

    Raises NotFound, InvalidRequest, DeliveryStateConflict.
    """
    due_at = None
    if request.due_at is not msgspec.UNSET:
        due_at = parse_instant(request.due_at, param="due_at")
    async with database.transaction() as tx:
        row = await lock_delivery(tx, by.merchant, text)
        allowed = _UNSENT if due_at is not None else CORRECTABLE
        if row["state"] not in allowed:
            _refuse(row, f"it can be changed while it is {' or '.join(allowed)}")
        address = row["address"]
        if request.address is not msgspec.UNSET:
            if row["channel"] == "link" or row["card"] is None:
                raise InvalidRequest("this delivery has no address to change", param="address")
            address = await _read_address(tx, row, request.address)
        changed = await _write_change(tx, row, address, due_at)
        # No address: the log is append-only, and personal data can be erased.
        fields = [name for name in ("address", "due_at") if changed[name] != row[name]]
        await audit_log.record_audit(tx, by, "delivery.changed", text, after={"fields": fields})
    return delivery_from_row(changed)


async def _read_address(tx: Tx, row: Row, text: str) -> str:
    """Raises InvalidRequest."""
    if row["channel"] == "sms":
        number = await read_local_phone(tx, row["merchant"], text)
        if number is None:
            raise InvalidRequest(NO_NUMBER, param="address")
        return number
    if not is_email(text):
        raise InvalidRequest("this is no e-mail address; give it as in a@shop.nl", param="address")
    return normalized(text)


async def _write_change(tx: Tx, row: Row, address: str | None, due_at: datetime | None) -> Row:
    changed = await tx.one(
        "update florin.delivery d set address = $3, changed_at = clock_timestamp(),"
        " due_at = coalesce($4, d.due_at),"
        " local_time = case when $4::timestamptz is null then d.local_time end,"
        " timezone = case when $4::timestamptz is null then d.timezone end,"
        " state = case when $4 > clock($1) then 'waiting' when $4 is null then d.state"
        " else 'due' end"
        " where d.merchant = $1 and d.id = $2 returning *",
        row["merchant"],
        row["id"],
        address,
        due_at,
    )
    assert changed is not None
    if changed["state"] == "due" and row["state"] == "waiting":
        job = send_job(row["merchant"], row["id"], row["channel"], row["generation"])
        await enqueue(tx, job)
    return changed


async def cancel_delivery(database: Database, by: AuditActor, text: str) -> Delivery:
    """Cancel a delivery that was not sent; one that is cancelled is returned unchanged.

    Raises NotFound, DeliveryStateConflict.
    """
    async with database.transaction() as tx:
        row = await lock_delivery(tx, by.merchant, text)
        if row["state"] == "cancelled":
            return delivery_from_row(row)
        if row["state"] not in _UNSENT:
            _refuse(row, "only one that is waiting or due can be cancelled")
        changed = await tx.one(
            "update florin.delivery set state = 'cancelled', changed_at = clock_timestamp()"
            " where merchant = $1 and id = $2 returning *",
            by.merchant,
            row["id"],
        )
        assert changed is not None
        await audit_log.record_audit(tx, by, "delivery.cancelled", text)
    return delivery_from_row(changed)


async def lock_delivery(tx: Tx, merchant: UUID, text: str) -> Row:
    """Raises NotFound."""
    row = await tx.one(_LOCK, merchant, parse_delivery_id(text))
    if row is None:
        raise NotFound
    return row


def require_ended(row: Row) -> None:
    """Raises DeliveryStateConflict for a delivery that cannot be sent again."""
    if row["state"] not in ENDED:
        _refuse(row, "it was not sent yet; change it instead")
    if (row["card"] is None and row["kind"] != "notice") or row["channel"] == "link":
        raise DeliveryStateConflict("this delivery cannot be sent again: request another one")
    if row["address"] == ERASED:
        raise DeliveryStateConflict("its recipient was erased: issue another delivery")


async def send_again(
    tx: Tx, by: AuditActor, row: Row, sealer: Sealer, *, secret: str | None
) -> Row:
    """Send a delivery again, as its next generation. `secret`: the token of a new link; None: its
    own is sent.
    """
    sealed = None
    if secret is not None:
        sealed = sealer.seal(secret, bound_to=secret_binding(row["merchant"], row["id"]))
    again = await tx.one(
        "update florin.delivery d set state = 'due', generation = d.generation + 1, attempts = 0,"
        " failure = null, due_at = clock($1), changed_at = clock_timestamp(), sent_at = null,"
        " local_time = null, timezone = null,"
        " secret_sealed = coalesce($3, d.secret_sealed),"
        " secret_until = case when $3::bytea is null then d.secret_until"
        " else clock_timestamp() + interval '30 days' end"
        " where d.merchant = $1 and d.id = $2 returning *",
        row["merchant"],
        row["id"],
        sealed,
    )
    assert again is not None
    await enqueue(
        tx, send_job(again["merchant"], again["id"], again["channel"], again["generation"])
    )
    await audit_log.record_audit(
        tx,
        by,
        "delivery.resent",
        ids.show_id("dlv", again["id"]),
        after={"generation": again["generation"]},
    )
    return again


def _refuse(row: Row, why: str) -> NoReturn:
    raise DeliveryStateConflict(
        f"the delivery is {row['state']}: {why}", extra={"state": row["state"]}
    )
