"""Payout: what a merchant is paid, and batches of payouts, as the API takes and shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Amount, Currency, Instant, LongText, Request
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database


class PayoutBatchRequest(Request, kw_only=True):
    """Pay out what was collected in `currency` up to `until`, by default up to now, to each
    merchant to whom at least `minimum` is owed.
    """

    currency: Currency
    until: Instant | None = None
    minimum: Amount = 1


class PayoutFailure(Request, kw_only=True):
    """Why a payout did not arrive."""

    reason: LongText


class PayoutBatch(msgspec.Struct, kw_only=True):
    """Payouts that were made together; `payouts` is their number and `amount` their sum."""

    id: str
    object: Literal["payout_batch"] = "payout_batch"
    currency: str
    until: datetime
    minimum: int
    payouts: int
    amount: int
    created_at: datetime


class Payout(msgspec.Struct, kw_only=True):
    """What a merchant is paid. `commission`: what was kept of the sales since the last payout;
    `payments`: how many payments it settles. `reason`: why it failed.
    """

    id: str
    object: Literal["payout"] = "payout"
    merchant: str
    batch: str
    state: Literal["made", "paid", "failed"]
    currency: str
    amount: int
    commission: int
    payments: int
    reason: str | None
    created_at: datetime
    resolved_at: datetime | None


async def find_batch(database: Database, operator: UUID, text: str) -> PayoutBatch:
    """Raises NotFound."""
    row = await database.one(
        "select * from florin.payout_batch where merchant = $1 and id = $2",
        operator,
        ids.require_id("pob", text),
    )
    if row is None:
        raise NotFound
    return _batch(row)


async def list_batches(
    database: Database, operator: UUID, *, limit: int, after: UUID | None
) -> list[PayoutBatch]:
    where = Conditions([operator])
    if after is not None:
        where.add("id < {}", after)
    page = where.bind(limit)
    rows = await database.all(
        f"select * from florin.payout_batch where merchant = $1{where} order by id desc"  # noqa: S608 -- our own text
        f" limit {page}",
        *where.arguments,
    )
    return [_batch(row) for row in rows]


async def find_payout(database: Database, caller: UUID, text: str) -> Payout:
    """Of the merchant itself, or of the operator that made it. Raises NotFound."""
    row = await database.one(
        "select * from florin.payout where id = $1 and (merchant = $2 or operator = $2)",
        ids.require_id("pyo", text),
        caller,
    )
    if row is None:
        raise NotFound
    return payout_from_row(row)


async def list_payouts(
    database: Database, caller: UUID, *, limit: int, after: UUID | None, batch: UUID | None
) -> list[Payout]:
    """Those of the merchant itself, and those that it made as an operator."""
    where = Conditions([caller])
    if after is not None:
        where.add("id < {}", after)
    where.add_equal("batch", batch)
    page = where.bind(limit)
    rows = await database.all(
        f"select * from florin.payout where (merchant = $1 or operator = $1){where}"  # noqa: S608 -- our own text
        f" order by id desc limit {page}",
        *where.arguments,
    )
    return [payout_from_row(row) for row in rows]


def _batch(row: Mapping[str, Any]) -> PayoutBatch:
    return PayoutBatch(
        id=ids.show_id("pob", row["id"]),
        currency=row["currency"],
        until=row["until"],
        minimum=row["minimum"],
        payouts=row["payouts"],
        amount=row["amount"],
        created_at=row["created_at"],
    )


def payout_from_row(row: Mapping[str, Any]) -> Payout:
    return Payout(
        id=ids.show_id("pyo", row["id"]),
        merchant=ids.show_id("mer", row["merchant"]),
        batch=ids.show_id("pob", row["batch"]),
        state=row["state"],
        currency=row["currency"],
        amount=row["amount"],
        commission=row["commission"],
        payments=row["payments"],
        reason=row["reason"],
        created_at=row["created_at"],
        resolved_at=row["resolved_at"],
    )
