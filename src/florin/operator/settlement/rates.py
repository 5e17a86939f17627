"""Rates: what an operator keeps of the sales of a merchant."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import Instant, Request
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database

BasisPoints = Annotated[
    int, Meta(ge=0, le=10_000, description="Of 1/10000: 250 is 2.5 %.", examples=[250])
]


class CommissionRateRequest(Request, kw_only=True):
    """What the operator keeps of payments from `valid_from` on, by default from now on."""

    merchant: str
    basis_points: BasisPoints
    valid_from: Instant | None = None


class CommissionRate(msgspec.Struct, kw_only=True):
    """What the operator keeps of payments from `valid_from` on, until a later rate."""

    id: str
    object: Literal["commission_rate"] = "commission_rate"
    merchant: str
    basis_points: int
    valid_from: datetime
    created_at: datetime


async def set_rate(
    database: Database, by: AuditActor, request: CommissionRateRequest
) -> CommissionRate:
    """Set a rate, which must not be for the past. Raises InvalidRequest."""
    merchant, rate = ids.parse_id("mer", request.merchant), ids.new_id()
    async with database.transaction() as tx:
        known = merchant and await tx.one(
            "select clock(id) as now from florin.merchant where id = $1", merchant
        )
        if not known or merchant is None:
            raise InvalidRequest("there is no such merchant", param="merchant")
        valid_from = request.valid_from or known["now"]
        if valid_from < known["now"]:
            raise InvalidRequest(
                "a rate cannot change for payments that were made", param="valid_from"
            )
        row = await tx.one(
            "insert into florin.commission_rate (merchant, id, basis_points, valid_from, operator,"
            " actor, created_at) values ($1, $2, $3, $4, $5, $6, $7) returning *",
            merchant,
            rate,
            request.basis_points,
            valid_from,
            by.merchant,
            by.actor,
            known["now"],
        )
        assert row is not None
        facts = {"basis_points": request.basis_points, "valid_from": valid_from.isoformat()}
        named = ids.show_id("cmr", rate)
        await audit_log.record_audit(tx, by, "commission_rate.set", named, after=facts)
        theirs = AuditActor(merchant=merchant, actor="operator")
        await audit_log.record_audit(tx, theirs, "commission_rate.set", named, after=facts)
    return _rate(row)


async def list_rates(
    database: Database, *, of: UUID | None, limit: int, after: UUID | None
) -> list[CommissionRate]:
    """The newest first; `of`: of one merchant."""
    where = Conditions([])
    if of is not None:
        where.add("merchant = {}", of)
    if after is not None:
        where.add("id < {}", after)
    page = where.bind(limit)
    rows = await database.all(
        f"select * from florin.commission_rate where true{where} order by id desc limit {page}",  # noqa: S608 -- our own text
        *where.arguments,
    )
    return [_rate(row) for row in rows]


async def find_rate(database: Database, text: str, *, of: UUID | None) -> CommissionRate:
    """Raises NotFound."""
    rate = ids.require_id("cmr", text)
    row = await database.one(
        "select * from florin.commission_rate where id = $1 and merchant = coalesce($2, merchant)",
        rate,
        of,
    )
    if row is None:
        raise NotFound
    return _rate(row)


def _rate(row: Mapping[str, Any]) -> CommissionRate:
    return CommissionRate(
        id=ids.show_id("cmr", row["id"]),
        merchant=ids.show_id("mer", row["merchant"]),
        basis_points=row["basis_points"],
        valid_from=row["valid_from"],
        created_at=row["created_at"],
    )
