"""Order rows: write orders, their items and payments, in the transaction that places them."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from florin.cards.delivery_plan import DeliveryPlan
from florin.cards.references import given_reference
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Row, Tx
from florin.merchants.vat import Vat
from florin.orders.item_delivery import plan_columns
from florin.orders.order import Order, OrderItemRequest, OrderRequest, order_from_rows
from florin.orders.payment_attempts import OPEN_FOR
from florin.payments.gateway import PaymentRow
from florin.payments.page_token import make_page_token, page_token_hash
from florin.payments.payment import payment_row

# In one statement, the last but one of its transaction: from its number on until the commit, other
# orders of the merchant wait.
_PLACE = """
with given as (
  select * from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::text[], $6::bigint[],
      $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
      $14::text[], $15::boolean[], $16::text[], $17::uuid[], $18::text[], $19::uuid[])
    with ordinality as u (merchant, id, token_hash, token_sealed, currency, amount, email, name,
      locale, chosen, return_url, base_url, actor, metadata, bulk, reference, payment, provider,
      gateway, n)
), numbered as (
  insert into florin.order_number as n (merchant, last)
  select g.merchant, count(*) from given g group by g.merchant order by g.merchant
  on conflict (merchant) do update set last = n.last + excluded.last returning merchant, last
), placed as (
  insert into florin.orders (merchant, id, number, token_hash, token_sealed, currency, amount,
    buyer_email, buyer_name, locale, gateway, return_url, base_url, actor, metadata, bulk,
    reference, placed_at)
  select g.merchant, g.id,
    n.last + 1 - row_number() over (partition by g.merchant order by g.n desc),
    g.token_hash, g.token_sealed, g.currency, g.amount, g.email, g.name, g.locale, g.chosen,
    g.return_url, g.base_url, g.actor, g.metadata::jsonb, g.bulk, g.reference, clock(g.merchant)
  from given g join numbered n on n.merchant = g.merchant
  returning *
), items as (
  insert into florin.order_item (merchant, orders, position, id, program, card, amount, count,
    recipient_name, recipient_email, message, deliver_channel, deliver_at, deliver_zone,
    deliver_due, deliver_locale, deliver_phone, vat_country, vat_rate)
  select * from unnest($20::uuid[], $21::uuid[], $22::smallint[], $23::uuid[], $24::uuid[],
    $25::uuid[], $26::bigint[], $27::smallint[], $28::text[], $29::text[], $30::text[],
    $31::text[], $32::text[], $33::text[], $34::timestamptz[], $35::text[], $36::text[],
    $37::text[], $38::integer[])
), attempt as (
  insert into florin.payment (merchant, id, orders, attempt, provider, gateway, currency, amount,
    expires_at, look_due, created_at)
  select g.merchant, g.payment, g.id, 1, g.provider, g.gateway, g.currency, g.amount,
    clock(g.merchant) + $39, clock_timestamp() + interval '1 minute', clock(g.merchant)
  from given g
  returning *
)
select p.*, m.name as merchant_name, m.timezone, a.expires_at, a.created_at
from placed p join attempt a on a.merchant = p.merchant and a.orders = p.id
join florin.merchant m on m.id = p.merchant
"""


_ITEM_COLUMNS = (
    "merchant", "orders", "position", "id", "program", "card", "amount", "count", "recipient_name",
    "recipient_email", "message", "deliver_channel", "deliver_at", "deliver_zone", "deliver_due",
    "deliver_locale", "deliver_phone", "vat_country", "vat_rate",
)  # fmt: skip


class OrderOrigin(NamedTuple):
    """Who places an order, and where buyers reach Florin."""

    merchant: UUID
    actor: str
    base_url: str


class PricedItem(NamedTuple):
    """An item that was compared with its program. `card`: the one that it tops up. `vat`: of its
    program, or of that card, when the order was placed.
    """

    request: OrderItemRequest
    program: UUID
    card: UUID | None
    currency: str
    vat: Vat


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


class OrderToPlace(NamedTuple):
    """An order that was checked: who places it, what was asked and decided, its items with their
    prices and deliveries.
    """

    origin: OrderOrigin
    request: OrderRequest
    new: NewOrder
    items: list[PricedItem]
    plans: list[DeliveryPlan | None]
    bulk: bool = False


class PlacedRows(NamedTuple):
    """What was written of an order. `row`: of `orders`, with facts of its merchant and its payment;
    `items`: columns of `order_item`.
    """

    new: NewOrder
    row: Row
    items: list[dict[str, Any]]


async def insert_orders_in(tx: Tx, orders: Sequence[OrderToPlace]) -> list[PlacedRows]:
    """Write orders, their items in their order, and the first attempts to pay them."""
    items = [[_item_row(order, n) for n in range(len(order.items))] for order in orders]
    columns = zip(*(_order_columns(order) for order in orders), strict=True)
    flat = [item for each in items for item in each]
    rows = await tx.all(
        _PLACE,
        *(list(column) for column in columns),
        *([each[column] for each in flat] for column in _ITEM_COLUMNS),
        OPEN_FOR,
    )
    by_id = {row["id"]: row for row in rows}
    return [
        PlacedRows(order.new, by_id[order.new.order], each)
        for order, each in zip(orders, items, strict=True)
    ]


def _order_columns(order: OrderToPlace) -> tuple[Any, ...]:
    """The elements of the first arrays of _PLACE, in their order."""
    origin, request, new = order.origin, order.request, order.new
    return (
        origin.merchant,
        new.order,
        new.page.token_hash,
        new.page.token_sealed,
        order.items[0].currency,
        total_of(order.items),
        request.buyer.email,
        request.buyer.name,
        request.locale,
        request.gateway or "",
        request.return_url,
        origin.base_url,
        origin.actor,
        json_text(request.metadata or {}),
        order.bulk,
        given_reference(request.reference),
        new.payment,
        *new.chosen,
    )


def _item_row(order: OrderToPlace, n: int) -> dict[str, Any]:
    priced, plan = order.items[n], order.plans[n]
    item, recipient = priced.request, priced.request.recipient
    values = (
        order.origin.merchant,
        order.new.order,
        n,
        ids.new_id(),
        priced.program,
        priced.card,
        item.amount,
        item.count,
        recipient.name if recipient else None,
        recipient.email if recipient else None,
        *plan_columns(item, plan),
        *priced.vat.place_and_rate,
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
