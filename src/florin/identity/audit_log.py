"""Audit log: who changed what and when, with the old and new values.

A record is written in the transaction of its change. The table is append-only by privilege and by
trigger. It never contains secrets: callers pass the changed facts, they never copy a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Database, Row, Tx

ANONYMOUS = "anonymous"  # a caller that has not signed in
FLORIN = "florin"  # Florin itself, for example when it creates the merchant of the demo

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditActor:
    """The merchant, the actor and the request that a change belongs to."""

    merchant: UUID
    actor: str
    request_id: str | None = None


class AuditRecord(msgspec.Struct, kw_only=True):
    """One administrative action. `before` and `after` hold the changed values."""

    id: str
    object: Literal["audit_record"] = "audit_record"
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None
    created_at: datetime


async def record_audit(
    tx: Tx,
    by: AuditActor,
    action: str,
    subject: str,
    *,
    before: Facts | None = None,
    after: Facts | None = None,
) -> None:
    await tx.run(
        "insert into florin.audit (merchant, id, actor, action, subject, before, after, request_id)"
        " values ($1, $2, $3, $4, $5, $6::text::jsonb, $7::text::jsonb, $8)",
        by.merchant,
        ids.new_id(),
        by.actor,
        action,
        subject,
        None if before is None else json_text(before),
        None if after is None else json_text(after),
        by.request_id,
    )


async def list_records(
    database: Database,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[AuditRecord]:
    rows = await database.all(
        "select * from florin.audit where merchant = $1 and ($2::uuid is null or id < $2)"
        " and ($3::text is null or actor = $3) and ($4::text is null or action = $4)"
        " and ($5::text is null or subject = $5) order by id desc limit $6",
        merchant,
        after,
        actor,
        action,
        subject,
        limit,
    )
    return [_from_row(row) for row in rows]


async def find_record(database: Database, merchant: UUID, text: str) -> AuditRecord:
    """Raises NotFound."""
    uuid = ids.parse_id("aud", text)
    row = uuid and await database.one(
        "select * from florin.audit where merchant = $1 and id = $2", merchant, uuid
    )
    if not row:
        raise NotFound
    return _from_row(row)


def _from_row(row: Row) -> AuditRecord:
    return AuditRecord(
        id=ids.show_id("aud", row["id"]),
        actor=row["actor"],
        action=row["action"],
        subject=row["subject"],
        before=_facts(row["before"]),
        after=_facts(row["after"]),
        request_id=row["request_id"],
        created_at=row["created_at"],
    )


def _facts(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text)
