"""Order page: what a buyer sees of an order, found by the token in its address."""

from typing import Any
from uuid import UUID

import msgspec

from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database, Row
from florin.merchants.law.withdrawal import GRANTED_DAYS, end_of_withdrawal
from florin.orders.order import Order, find_order
from florin.payments.page_token import page_token_hash

_ORDER_OF_PAGE = """
select o.merchant, o.id, o.state, m.name as merchant_name, o.paid_at, m.timezone,
  clock(o.merchant) as now,
  (select p.id from florin.payment p where p.merchant = o.merchant and p.orders = o.id
    order by p.attempt desc limit 1) as payment,
  (select p.state from florin.payment p where p.merchant = o.merchant and p.orders = o.id
    order by p.attempt desc limit 1) as payment_state
from florin.orders o join florin.merchant m on m.id = o.merchant where o.token_hash = $1
"""
_CARDS = """
select a.id, a.balance, a.state, a.blocked, c.last4 from florin.order_card k
join florin.order_item i on i.merchant = k.merchant and i.id = k.item
join florin.account a on a.merchant = k.merchant and a.id = k.card
join florin.card c on c.merchant = k.merchant and c.id = k.card
where k.merchant = $1 and i.orders = $2 order by i.position, k.position limit 200
"""


class OrderView(msgspec.Struct, kw_only=True):
    """What the page of an order shows. `outcome`: paid, not_paid, open while it can be paid, or
    checking. `payable`: whether another attempt to pay it may begin; `withdrawable`: whether its
    buyer may still withdraw.
    """

    merchant: UUID
    merchant_name: str
    order: Order
    payment: UUID
    outcome: str
    cards: list[dict[str, Any]]
    payable: bool
    withdrawable: bool


async def find_token(database: Database, token: str) -> Row:
    """The order of a page. Raises NotFound."""
    row = await database.one(_ORDER_OF_PAGE, page_token_hash(token))
    if row is None:
        raise NotFound
    return row


async def read_order_view(database: Database, token: str) -> OrderView:
    """Raises NotFound."""
    row = await find_token(database, token)
    order = await find_order(database, row["merchant"], row["id"])
    cards = await database.all(_CARDS, row["merchant"], row["id"])
    outcome = _outcome(row["state"], row["payment_state"])
    return OrderView(
        merchant=row["merchant"],
        merchant_name=row["merchant_name"],
        order=order,
        payment=row["payment"],
        outcome=outcome,
        cards=[dict(card) for card in cards],
        payable=outcome == "not_paid" and row["state"] in {"placed", "lapsed"},
        withdrawable=_may_withdraw(order, row),
    )


def _may_withdraw(order: Order, row: Row) -> bool:
    if row["paid_at"] is None or order.state != "fulfilled":
        return False
    if row["now"] >= end_of_withdrawal(row["paid_at"], row["timezone"], GRANTED_DAYS):
        return False
    return order.withdrawn_at is None and order.refunded < order.amount and not order.disputed


def _outcome(order: str, payment: str) -> str:
    """Three words only. While the outcome is open, no page says failed or offers to pay again."""
    if order in {"paid", "fulfilled"}:
        return "paid"
    if order in {"cancelled", "lapsed"} or payment in {"failed", "expired"}:
        return "not_paid"
    return "open" if payment in {"created", "open"} else "checking"
