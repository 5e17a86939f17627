"""Installation: what its operator looks at across merchants, read from the database.

Names and ids of merchants, counts and sums; nothing of their customers.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.postgres.database import Database, Row
from florin.ledger import quotas
from florin.ledger.quotas import Quota
from florin.payments.unexplained import UNEXPLAINED

SHOWN = 50
_DELIVERIES = """
select d.channel, d.state, count(*) as number, min(d.due_at) as oldest
from florin.delivery d join florin.merchant m on m.id = d.merchant and not m.test
where d.state in ('due', 'sending') group by d.channel, d.state order by d.channel, d.state
"""
_UNEXPLAINED = f"""
select m.id, m.name, u.received_currency as currency, count(*) as payments,
  sum(u.amount)::bigint as amount, min(u.paid_at) as oldest
from ({UNEXPLAINED}) u join florin.merchant m on m.id = u.merchant and not m.test
group by m.id, m.name, u.received_currency order by min(u.paid_at) limit $1
"""  # noqa: S608 -- our own text
_NAMES = "select id, name from florin.merchant where id = any($1)"


class UnsentDeliveries(msgspec.Struct, kw_only=True):
    """Deliveries of one channel that are due or being sent, of merchants that are not a test."""

    channel: str
    state: str
    number: int
    oldest: datetime


class UnexplainedSum(msgspec.Struct, kw_only=True):
    """What one merchant received in one currency without a counterpart, since `oldest`."""

    merchant: str
    name: str
    currency: str
    payments: int
    amount: int
    oldest: datetime


class QuotaShown(msgspec.Struct, kw_only=True):
    """A limit, and the merchants for whom it is another one: id, name, limit."""

    name: str
    default: int
    merchants: list[tuple[str, str, int]]


class Installation(msgspec.Struct, kw_only=True):
    """What the operator looks at."""

    deliveries: list[UnsentDeliveries]
    unexplained: list[UnexplainedSum]
    quotas: list[QuotaShown]


async def read_installation(database: Database) -> Installation:
    async with database.connection() as connection:
        limits = await quotas.listed(connection)
    others: set[UUID] = {merchant for quota in limits for merchant in quota.merchants}
    rows = await database.all(_NAMES, list(others))
    names: dict[UUID, str] = {row["id"]: row["name"] for row in rows}
    deliveries = await database.all(_DELIVERIES)
    unexplained = await database.all(_UNEXPLAINED, SHOWN)
    return Installation(
        deliveries=[_unsent(row) for row in deliveries],
        unexplained=[
            UnexplainedSum(
                merchant=ids.show_id("mer", row["id"]),
                name=row["name"],
                currency=row["currency"],
                payments=row["payments"],
                amount=row["amount"],
                oldest=row["oldest"],
            )
            for row in unexplained
        ],
        quotas=[_shown(quota, names) for quota in limits],
    )


def _unsent(row: Row) -> UnsentDeliveries:
    return UnsentDeliveries(
        channel=row["channel"], state=row["state"], number=row["number"], oldest=row["oldest"]
    )


def _shown(quota: Quota, names: dict[UUID, str]) -> QuotaShown:
    merchants = [
        (ids.show_id("mer", merchant), names.get(merchant, ""), most)
        for merchant, most in list(quota.merchants.items())[:SHOWN]
    ]
    return QuotaShown(name=quota.name, default=quota.default, merchants=merchants)
