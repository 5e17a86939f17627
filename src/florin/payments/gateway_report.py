"""Gateway report: what gateways collected, kept and returned, and money that is not explained yet.

Everything is read from `gateway_posting`, which has each change of gateway_clearing with its
payment. `pending` is what gateways still owe. For what is unexplained see `unexplained.py`.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.postgres.database import Reader
from florin.payments.unexplained import UNEXPLAINED

_SUMS = """
select g.currency,
  coalesce(sum(g.amount) filter (where g.kind in ('sale', 'receipt', 'applied')), 0)::bigint
    as charges,
  coalesce(-sum(g.amount) filter (where g.kind = 'gateway_fee'), 0)::bigint as fees,
  coalesce(-sum(g.amount) filter (where g.kind in ('gateway_refund', 'refund_returned')), 0)::bigint
    as refunds,
  coalesce(-sum(g.amount) filter (where g.kind in ('dispute', 'dispute_won')), 0)::bigint
    as disputes,
  coalesce(-sum(g.amount) filter (where g.kind = 'commission'), 0)::bigint as commissions,
  coalesce(-sum(g.amount) filter (where g.kind = 'payout'), 0)::bigint as payouts
from florin.gateway_posting g
where g.merchant = $1 and g.currency = $2 and ($3::timestamptz is null or g.created_at >= $3)
  and ($4::timestamptz is null or g.created_at < $4)
group by g.currency
"""
_PENDING = """
select coalesce(sum(g.amount), 0)::bigint as pending from florin.gateway_posting g
where g.merchant = $1 and g.currency = $2 and ($3::timestamptz is null or g.created_at < $3)
"""
_UNEXPLAINED = f"""
select u.*, floor(extract(epoch from clock(u.merchant) - u.paid_at))::bigint as age_s
from ({UNEXPLAINED}) u where u.merchant = $1 order by u.paid_at, u.id limit 1000
"""  # noqa: S608 -- our own text


class UnexplainedMoney(msgspec.Struct, kw_only=True):
    """Money without a counterpart, and for how many seconds. `reason`: what differs."""

    payment: str
    order: str
    amount: int
    currency: str
    reason: str | None
    age_s: int


class GatewayReport(msgspec.Struct, kw_only=True):
    """The money of gateways in one currency, from `from` up to, not including, `to`. `pending` is
    what they still owe at the end of it; `unexplained` is all that there is now, the oldest first.
    """

    object: Literal["gateway_report"] = "gateway_report"
    from_: datetime | None = msgspec.field(name="from")
    to: datetime | None
    currency: str
    charges: int
    fees: int
    refunds: int
    disputes: int
    commissions: int
    payouts: int
    pending: int
    unexplained: list[UnexplainedMoney]


async def read_gateway_report(
    reads: Reader,
    merchant: UUID,
    *,
    since: datetime | None,
    until: datetime | None,
    currency: str | None,
) -> GatewayReport:
    if currency is None:
        row = await reads.one("select currency from florin.merchant where id = $1", merchant)
        assert row is not None
        currency = str(row["currency"])
    sums = await reads.one(_SUMS, merchant, currency, since, until)
    pending = await reads.one(_PENDING, merchant, currency, until)
    assert pending is not None
    rows = await reads.all(_UNEXPLAINED, merchant)

    def total(name: str) -> int:
        return int(sums[name]) if sums is not None else 0

    return GatewayReport(
        from_=since,
        to=until,
        currency=currency,
        charges=total("charges"),
        fees=total("fees"),
        refunds=total("refunds"),
        disputes=total("disputes"),
        commissions=total("commissions"),
        payouts=total("payouts"),
        pending=pending["pending"],
        unexplained=[
            UnexplainedMoney(
                payment=ids.show_id("pay", row["id"]),
                order=ids.show_id("ord", row["orders"]),
                amount=row["amount"],
                currency=row["received_currency"],
                reason=row["reason"],
                age_s=row["age_s"],
            )
            for row in rows
        ],
    )
