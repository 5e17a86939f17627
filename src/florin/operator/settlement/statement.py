"""Statement: what is owed to merchants of what the installation's own gateways collected for them.

Everything is read from `gateway_posting`, which has each change of gateway_clearing: the balance of
a merchant is what the ledger says that is still to be paid out. Commissions are deducted when they
are booked, with the next payout.
"""

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.list_filters import Conditions
from florin.kit.minor_units import decimal_text
from florin.kit.postgres.database import Database

LINES_MAX = 20_000
_OWN = "p.gateway = '00000000-0000-0000-0000-000000000000'"

_SUMS = f"""
select g.merchant, m.name, g.currency,
  coalesce(sum(g.amount) filter (where g.kind in ('sale', 'receipt', 'applied')), 0)::bigint
    as collected,
  coalesce(-sum(g.amount) filter (where g.kind in ('gateway_refund', 'refund_returned')), 0)::bigint
    as refunds,
  coalesce(-sum(g.amount) filter (where g.kind in ('dispute', 'dispute_won')), 0)::bigint
    as disputes,
  coalesce(-sum(g.amount) filter (where g.kind = 'gateway_fee'), 0)::bigint as fees,
  coalesce(-sum(g.amount) filter (where g.kind = 'commission'), 0)::bigint as commissions,
  coalesce(-sum(g.amount) filter (where g.kind = 'payout'), 0)::bigint as paid_out,
  sum(g.amount)::bigint as balance
from florin.gateway_posting g
join florin.payment p on p.merchant = g.merchant and p.id = g.payment and {_OWN}
join florin.merchant m on m.id = g.merchant
where true
"""  # noqa: S608 -- our own text
_LINES = f"""
select g.created_at, g.kind, g.amount, g.payment, g.payout, o.number,
  sum(g.amount) over (order by g.created_at, g.transfer)::bigint as balance
from florin.gateway_posting g
join florin.payment p on p.merchant = g.merchant and p.id = g.payment and {_OWN}
join florin.orders o on o.merchant = p.merchant and o.id = p.orders
where g.merchant = $1 and g.currency = $2 and ($4::timestamptz is null or g.created_at < $4)
order by g.created_at, g.transfer
"""  # noqa: S608 -- our own text
_STATEMENT = f"""
select * from ({_LINES}) s where $3::timestamptz is null or s.created_at >= $3 limit $5
"""  # noqa: S608 -- our own text
_FILE = """
select o.*, m.name, m.country from florin.payout o join florin.merchant m on m.id = o.merchant
where o.operator = $1 and o.batch = $2 order by o.merchant, o.id
"""
# A spreadsheet would take text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class SettlementBalance(msgspec.Struct, kw_only=True):
    """What was collected for a merchant in one currency, and what became of it. `balance`: what is
    still owed to it, or to the operator if it is negative.
    """

    object: Literal["settlement_balance"] = "settlement_balance"
    merchant: str
    name: str
    currency: str
    collected: int
    refunds: int
    disputes: int
    fees: int
    commissions: int
    paid_out: int
    balance: int


async def list_balances(
    database: Database, *, of: UUID | None, limit: int, after: UUID | None, currency: str | None
) -> list[SettlementBalance]:
    """By merchant and currency; `of`: of one merchant. `limit` counts merchants' currencies."""
    where = Conditions([])
    if of is not None:
        where.add("g.merchant = {}", of)
    if after is not None:
        where.add("g.merchant > {}", after)
    where.add_equal("g.currency", currency)
    page = where.bind(limit)
    rows = await database.all(
        f"{_SUMS}{where} group by g.merchant, m.name, g.currency"
        f" order by g.merchant, g.currency limit {page}",
        *where.arguments,
    )
    return [_balance(row) for row in rows]


async def find_currency(database: Database, merchant: UUID) -> str:
    """The currency of a merchant. Raises NotFound."""
    row = await database.one("select currency from florin.merchant where id = $1", merchant)
    if row is None:
        raise NotFound
    currency: str = row["currency"]
    return currency


async def write_statement(
    database: Database,
    merchant: UUID,
    currency: str,
    *,
    since: datetime | None,
    until: datetime | None,
) -> str:
    """The statement of a merchant as CSV: each change, with the balance after it. Amounts are in
    minor units; positive is for the merchant. Raises InvalidRequest for a time with too many.
    """
    rows = await database.all(_STATEMENT, merchant, currency, since, until, LINES_MAX + 1)
    if len(rows) > LINES_MAX:
        raise InvalidRequest(
            f"there are more than {LINES_MAX} changes in this time; ask for a shorter one",
            param="from",
        )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ("created_at", "kind", "order_number", "payment", "payout", "amount", "balance", "currency")
    )
    for row in rows:
        writer.writerow(
            (
                row["created_at"].isoformat(),
                row["kind"],
                row["number"],
                ids.show_id("pay", row["payment"]),
                "" if row["payout"] is None else ids.show_id("pyo", row["payout"]),
                row["amount"],
                row["balance"],
                currency,
            )
        )
    return file.getvalue()


async def write_batch(database: Database, operator: UUID, batch: UUID) -> str:
    """The payouts of a batch as CSV, for the operator's bank: amounts as decimal numbers. Raises
    NotFound.
    """
    if not await database.one(
        "select id from florin.payout_batch where merchant = $1 and id = $2", operator, batch
    ):
        raise NotFound
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("payout", "merchant", "name", "country", "amount", "currency", "state"))
    for row in await database.all(_FILE, operator, batch):
        writer.writerow(
            (
                ids.show_id("pyo", row["id"]),
                ids.show_id("mer", row["merchant"]),
                _plain(row["name"]),
                row["country"],
                decimal_text(row["amount"], row["currency"]),
                row["currency"],
                row["state"],
            )
        )
    return file.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _balance(row: Mapping[str, Any]) -> SettlementBalance:
    return SettlementBalance(
        merchant=ids.show_id("mer", row["merchant"]),
        name=row["name"],
        currency=row["currency"],
        collected=row["collected"],
        refunds=row["refunds"],
        disputes=row["disputes"],
        fees=row["fees"],
        commissions=row["commissions"],
        paid_out=row["paid_out"],
        balance=row["balance"],
    )
