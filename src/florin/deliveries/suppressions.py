"""Suppressions: addresses to which a merchant's mail is not sent any more, until staff allow it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database, Reader, Row, Tx

SuppressionReason = Literal["bounced", "complained"]


class Suppression(msgspec.Struct, kw_only=True):
    """An address that gets no gifts and reminders of this merchant. `delivery`: the one that
    bounced, or of which its recipient complained.
    """

    id: str
    object: Literal["suppression"] = "suppression"
    address: str
    reason: SuppressionReason
    delivery: str
    created_at: datetime


async def suppress_address(
    tx: Tx, merchant: UUID, address: str, reason: SuppressionReason, delivery: UUID
) -> None:
    """A complaint outweighs a bounce; otherwise the first report counts."""
    await tx.run(
        "insert into florin.suppression as s (merchant, id, address, reason, delivery)"
        " values ($1, $2, $3, $4, $5) on conflict (merchant, address) do update"
        " set reason = excluded.reason, delivery = excluded.delivery"
        " where excluded.reason = 'complained' and s.reason = 'bounced'",
        merchant,
        ids.new_id(),
        address,
        reason,
        delivery,
    )


async def list_suppressions(
    reader: Reader, merchant: UUID, *, limit: int, after: UUID | None, address: str | None
) -> list[Suppression]:
    where = Conditions([merchant])
    if address is not None:
        where.add("address = {}", address)
    if after is not None:
        where.add("id < {}", after)
    page = where.bind(limit)
    rows = await reader.all(
        f"select * from florin.suppression where merchant = $1{where} order by id desc limit {page}",  # noqa: S608, E501 -- our own text
        *where.arguments,
    )
    return [_suppression(row) for row in rows]


async def find_suppression(reader: Reader, merchant: UUID, text: str) -> Suppression:
    """Raises NotFound."""
    row = await reader.one(
        "select * from florin.suppression where merchant = $1 and id = $2",
        merchant,
        ids.require_id("sup", text),
    )
    if row is None:
        raise NotFound
    return _suppression(row)


async def lift_suppression(database: Database, by: AuditActor, text: str) -> Suppression:
    """Allow mail to the address again. Raises NotFound."""
    async with database.transaction() as tx:
        row = await tx.one(
            "delete from florin.suppression where merchant = $1 and id = $2 returning *",
            by.merchant,
            ids.require_id("sup", text),
        )
        if row is None:
            raise NotFound
        # No address: the log is append-only, and personal data can be erased.
        await audit_log.record_audit(
            tx, by, "suppression.lifted", text, before={"reason": row["reason"]}
        )
    return _suppression(row)


def _suppression(row: Row) -> Suppression:
    return Suppression(
        id=ids.show_id("sup", row["id"]),
        address=row["address"],
        reason=row["reason"],
        delivery=ids.show_id("dlv", row["delivery"]),
        created_at=row["created_at"],
    )
