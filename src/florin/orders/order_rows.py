"""Order rows: write an order, its items and its payment, in the transaction that places it."""

from typing import Any, NamedTuple
from uuid import UUID

from florin.cards.delivery_plan import DeliveryPlan
from florin.cards.references import given_reference
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Row, Tx
from florin.orders.item_delivery import plan_columns
from florin.orders.order import Order, OrderItemRequest, OrderRequest, order_from_rows
from florin.orders.payment_attempts import OPEN_FOR
from florin.payments.gateway import PaymentRow
from florin.payments.page_token import make_page_token, page_token_hash
from florin.payments.payment import payment_row

# In one statement, the last but one of its transaction: from its number on until the commit, other
# orders of the merchant wait.
_PLACE = """
with numbered as (
  insert into florin.order_number as n (merchant, last) values ($1, 1)
  on conflict (merchant) do update set last = n.last + 1 returning last
), placed as (
  insert into florin.orders (merchant, id, number, token_hash, token_sealed, currency, amount,
    buyer_email, buyer_name, locale, gateway, return_url, base_url, actor, metadata, bulk,
    reference, placed_at)
  select $1, $2, n.last, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::jsonb, $15,
    $16, clock($1)
  from numbered n
  returning *
), items as (
  insert into florin.order_item (merchant, id, orders, position, program, card, amount, count,
    recipient_name, recipient_email, message, deliver_channel, deliver_at, deliver_zone,
    deliver_due, deliver_locale, deliver_phone)
  select $1, u.id, $2, u.n - 1, u.program, u.card, u.amount, u.count, u.name, u.email, u.message,
    u.channel, u.at, u.zone, u.due, u.locale, u.phone
  from unnest($17::uuid[], $18::uuid[], $19::uuid[], $20::bigint[], $21::smallint[], $22::text[],
      $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::timestamptz[],
      $29::text[], $30::text[]) with ordinality
    as u (id, program, card, amount, count, name, email, message, channel, at, zone, due, locale,
      phone, n)
), attempt as (
  insert into florin.payment (merchant, id, orders, attempt, provider, gateway, currency, amount,
    expires_at, look_due, created_at)
  select p.merchant, $31, p.id, 1, $32, $33, p.currency, p.amount, clock(p.merchant) + $34,
    clock_timestamp() + interval '1 minute', clock(p.merchant)
  from placed p
  returning *
)
select p.*, m.name as merchant_name, m.timezone, a.expires_at, a.created_at
from placed p cross join attempt a join florin.merchant m on m.id = p.merchant
"""


_ITEM_COLUMNS = (
    "id",
    "program",
    "card",
    "amount",
    "count",
    "recipient_name",
    "recipient_email",
    "message",
    "deliver_channel",
    "deliver_at",
    "deliver_zone",
    "deliver_due",
    "deliver_locale",
    "deliver_phone",
)


class OrderOrigin(NamedTuple):
    """Who places an order, and where buyers reach Florin."""

    merchant: UUID
    actor: str
    base_url: str


class PricedItem(NamedTuple):
    """An item that was compared with its program. `card`: the one that it tops up."""

    request: OrderItemRequest
    program: UUID
    card: UUID | None
    currency: str


class NewPage(NamedTuple):
    """The token of an order's page, hashed and sealed."""

    token: str
    token_hash: bytes
    token_sealed: bytes


class NewOrder(NamedTuple):
    """What is decided before an order is written. `chosen`: the provider and the gateway that take
    its first payment.
    """

    order: UUID
    payment: UUID
    page: NewPage
    chosen: tuple[str, UUID]


def new_page(sealer: Sealer, merchant: UUID, order: UUID) -> NewPage:
    token = make_page_token()
    sealed = sealer.seal(token, bound_to=merchant.bytes + order.bytes)
    return NewPage(token, page_token_hash(token), sealed)


def total_of(items: list[PricedItem]) -> int:
    return sum(item.request.amount * item.request.count for item in items)


class PlacedRows(NamedTuple):
    """What was written of an order. `row`: of `orders`, with facts of its merchant and its payment;
    `items`: columns of `order_item`.
    """

    new: NewOrder
    row: Row
    items: list[dict[str, Any]]


async def insert_order_in(
    tx: Tx,
    origin: OrderOrigin,
    request: OrderRequest,
    new: NewOrder,
    items: list[PricedItem],
    plans: list[DeliveryPlan | None],
    *,
    bulk: bool,
) -> PlacedRows:
    """Write an order, its items in their order, and the first attempt to pay it."""
    rows = [_item_row(item, plan) for item, plan in zip(items, plans, strict=True)]
    row = await tx.one(
        _PLACE,
        origin.merchant,
        new.order,
        new.page.token_hash,
        new.page.token_sealed,
        items[0].currency,
        total_of(items),
        request.buyer.email,
        request.buyer.name,
        request.locale,
        request.gateway or "",
        request.return_url,
        origin.base_url,
        origin.actor,
        json_text(request.metadata or {}),
        bulk,
        given_reference(request.reference),
        *([each[column] for each in rows] for column in _ITEM_COLUMNS),
        new.payment,
        *new.chosen,
        OPEN_FOR,
    )
    assert row is not None
    return PlacedRows(new, row, rows)


def _item_row(priced: PricedItem, plan: DeliveryPlan | None) -> dict[str, Any]:
    item, recipient = priced.request, priced.request.recipient
    values = (
        ids.new_id(),
        priced.program,
        priced.card,
        item.amount,
        item.count,
        recipient.name if recipient else None,
        recipient.email if recipient else None,
        *plan_columns(item, plan),
    )
    return dict(zip(_ITEM_COLUMNS, values, strict=True))


def placed_order(rows: PlacedRows) -> Order:
    """A new order that is not a bulk order, as the API shows it. Nothing was paid or refunded."""
    row = {
        **rows.row,
        "places": (),
        "payment": rows.new.payment,
        "payment_state": "created",
        "pay_url": None,
        "refunded": 0,
        "disputed": False,
    }
    return order_from_rows(row, [{**item, "cards": ()} for item in rows.items])


def new_payment_row(rows: PlacedRows) -> PaymentRow:
    """The first attempt to pay a new order, as its gateway needs it."""
    new, row = rows.new, rows.row
    provider, gateway = new.chosen
    return payment_row(
        {
            **row,
            "id": new.payment,
            "orders": new.order,
            "stands": True,
            "provider": provider,
            "gateway": gateway,
            "state": "created",
            "received": 0,
            "reference": None,
            "capture_ref": None,
        },
        row["return_url"] or f"{row['base_url']}/o/{new.page.token}",
    )
