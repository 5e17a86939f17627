"""Order: what a buyer ordered, as the API shows it, and how it is read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.cards.card import Recipient
from florin.cards.delivery_plan import DeliverRequest
from florin.kit import ids
from florin.kit.email_address import Email
from florin.kit.errors import NotFound
from florin.kit.http.body import Amount, LongText, Metadata, Request, Text
from florin.kit.http.list_filters import Conditions
from florin.kit.postgres.database import Database, Tx
from florin.merchants.law.withdrawal import withdrawal_by_law
from florin.merchants.vat import ContainedVat, vat_of_items

OrderState = Literal["placed", "paid", "fulfilled", "cancelled", "lapsed", "review"]
ITEMS_MAX, COUNT_MAX, CARDS_MAX, RECIPIENTS_MAX = 50, 100, 200, 5000  # the last: of a bulk order
ReturnUrl = Annotated[
    str,
    Meta(
        max_length=1000,
        pattern=r"^https?://[^\s\x00-\x20]+$(?!\n)",
        description="Where the buyer goes after paying: an address with http or https.",
        examples=["https://shop.example/thanks"],
    ),
]
Locale = Annotated[
    str,
    Meta(
        max_length=35,
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)",
        description="A language tag (BCP 47), such as de or de-AT.",
        examples=["de"],
    ),
]
GatewayText = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^(test|stripe|paypal|gtw_[0-9a-f]{32})$(?!\n)",
        description="test, Florin's own gateway; stripe; paypal; or the id of a gateway of yours.",
        examples=["test"],
    ),
]


class OrderItemRequest(Request, kw_only=True):
    """New cards of a program, `amount` each; or with `card` a top-up of that card."""

    program: str
    amount: Amount
    count: Annotated[int, Meta(ge=1, le=COUNT_MAX)] = 1
    card: str | None = None
    recipient: Recipient | None = None
    message: LongText | None = None
    deliver: DeliverRequest | msgspec.UnsetType = msgspec.UNSET


class Buyer(Request, kw_only=True):
    """The person who pays; the receipt goes to `email`."""

    email: Email
    name: Text | None = None


class OrderRequest(Request, kw_only=True):
    """An order. All items have one currency. `gateway`: by default the one that is connected.
    `reference`: your own name of the order, which no other order of yours may have.
    """

    items: Annotated[list[OrderItemRequest], Meta(min_length=1, max_length=ITEMS_MAX)]
    buyer: Buyer
    gateway: GatewayText | None = None
    return_url: ReturnUrl | None = None
    locale: Locale | None = None
    metadata: Metadata | None = None
    reference: Text | msgspec.UnsetType = msgspec.UNSET


class ItemDelivery(msgspec.Struct, kw_only=True):
    """How cards of an order are delivered. `at`: a local time in `timezone`."""

    channel: str
    at: str | None
    timezone: str | None


class OrderItem(msgspec.Struct, kw_only=True):
    """An item of an order. `cards`: what was issued or topped up, once it is paid."""

    program: str
    amount: int
    count: int
    card: str | None
    recipient: Recipient | None
    message: str | None
    deliver: ItemDelivery | None
    cards: list[str]


class Order(msgspec.Struct, kw_only=True):
    """An order. `payment` is its latest attempt, and `pay_url` where the buyer pays it. `url` is
    the order's own page. `refunded`: returned to the buyer or on its way. `review`: why a member
    has to decide; nothing was issued then. `withdrawal_until`: until when its buyer may withdraw by
    law. `bulk`: its items are sums; `/orders/{id}/recipients` lists its cards. `vat`: in `amount`.
    """

    id: str
    object: Literal["order"] = "order"
    number: int
    state: OrderState
    amount: int
    currency: str
    refunded: int
    disputed: bool
    items: list[OrderItem]
    bulk: bool
    buyer: Buyer | None
    vat: list[ContainedVat]
    payment: str
    pay_url: str | None
    url: str | msgspec.UnsetType = msgspec.UNSET
    review: str | None
    locale: str | None
    metadata: dict[str, str]
    reference: str | None
    created_at: datetime
    paid_at: datetime | None
    closed_at: datetime | None
    withdrawn_at: datetime | None
    withdrawal_until: datetime | None


_ORDERS = """
select o.*, m.timezone, (select array_agg(distinct s.place) from florin.order_item i
    join florin.program g on g.merchant = i.merchant and g.id = i.program
    cross join lateral unnest(coalesce(g.places, array[m.country])) s (place)
    where i.merchant = o.merchant and i.orders = o.id) as places, p.id as payment,
  p.state as payment_state, p.url as pay_url, (select coalesce(sum(z.refunded), 0)::bigint
    from florin.payment z where z.merchant = o.merchant and z.orders = o.id) as refunded,
  exists (select from florin.payment z join florin.dispute d
    on d.merchant = z.merchant and d.payment = z.id
    where z.merchant = o.merchant and z.orders = o.id and d.state in ('open', 'lost')) as disputed
from florin.orders o join florin.merchant m on m.id = o.merchant cross join lateral (
  select z.id, z.state, z.url from florin.payment z where z.merchant = o.merchant
    and z.orders = o.id order by z.attempt desc limit 1) p where o.merchant = $1
"""
# The items of a bulk order are not listed one by one, but by their amount.
_ALIKE = """
select i.orders, i.program, i.amount, count(*)::integer as count, null::uuid as card,
  null as recipient_name, null as recipient_email, null as message, i.deliver_channel, i.deliver_at,
  i.deliver_zone, i.vat_country, i.vat_rate, null as deliver_phone, '{}'::uuid[] as cards
from florin.order_item i where i.merchant = $1 and i.orders = any($2)
group by 1, 2, 3, 9, 10, 11, 12, 13 order by i.orders, min(i.position)
"""
_ITEMS = """
select i.*, coalesce((select array_agg(c.card order by c.position) from florin.order_card c
  where c.merchant = i.merchant and c.item = i.id), '{}') as cards
from florin.order_item i where i.merchant = $1 and i.orders = any($2) order by i.orders, i.position
"""


parse_order_id = partial(ids.require_id, "ord")  # raises NotFound


async def find_order(reads: Database | Tx, merchant: UUID, order: UUID) -> Order:
    """Raises NotFound."""
    row = await reads.one(f"{_ORDERS} and o.id = $2", merchant, order)
    if row is None:
        raise NotFound
    sql = _ALIKE if row["bulk"] else _ITEMS
    return order_from_rows(row, await reads.all(sql, merchant, [order]))


async def list_orders(
    database: Database,
    merchant: UUID,
    *,
    limit: int,
    after: UUID | None,
    only: Mapping[str, str | None],  # state, buyer_email, reference
) -> list[Order]:
    where = Conditions([merchant])
    if after is not None:
        where.add("o.id < {}", after)
    for column, value in only.items():
        where.add_equal(f"o.{column}", value)
    page = where.bind(limit)
    rows = await database.all(f"{_ORDERS}{where} order by o.id desc limit {page}", *where.arguments)
    items = [
        *await database.all(_ITEMS, merchant, [row["id"] for row in rows if not row["bulk"]]),
        *await database.all(_ALIKE, merchant, [row["id"] for row in rows if row["bulk"]]),
    ]
    return [order_from_rows(row, [i for i in items if i["orders"] == row["id"]]) for row in rows]


def order_from_rows(row: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Order:
    open_ = row["state"] == "placed" and row["payment_state"] in {"created", "open"}
    email = row["buyer_email"]
    return Order(
        id=ids.show_id("ord", row["id"]),
        number=row["number"],
        state=cast("OrderState", row["state"]),
        amount=row["amount"],
        currency=row["currency"],
        refunded=row["refunded"],
        disputed=row["disputed"],
        items=[_item(item) for item in items],
        bulk=row["bulk"],
        buyer=Buyer(email=email, name=row["buyer_name"]) if email is not None else None,
        vat=vat_of_items(items),
        payment=ids.show_id("pay", row["payment"]),
        pay_url=row["pay_url"] if open_ else None,
        review=row["review"],
        locale=row["locale"],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        reference=row["reference"],
        created_at=row["placed_at"],
        paid_at=row["paid_at"],
        closed_at=row["closed_at"],
        withdrawn_at=row["withdrawn_at"],
        withdrawal_until=withdrawal_by_law(row["paid_at"], row["timezone"], row["places"] or ()),
    )


def _item(row: Mapping[str, Any]) -> OrderItem:
    phone = msgspec.UNSET if row["deliver_phone"] is None else row["deliver_phone"]
    recipient = Recipient(name=row["recipient_name"], email=row["recipient_email"], phone=phone)
    return OrderItem(
        program=ids.show_id("prg", row["program"]),
        amount=row["amount"],
        count=row["count"],
        card=ids.show_id("crd", row["card"]) if row["card"] is not None else None,
        recipient=None if recipient == Recipient() else recipient,
        message=row["message"],
        deliver=_delivery(row),
        cards=[ids.show_id("crd", card) for card in row["cards"]],
    )


def _delivery(row: Mapping[str, Any]) -> ItemDelivery | None:
    channel, at, zone = row["deliver_channel"], row["deliver_at"], row["deliver_zone"]
    return None if channel is None else ItemDelivery(channel=channel, at=at, timezone=zone)
