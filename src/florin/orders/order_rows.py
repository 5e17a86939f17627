"""Order rows: write an order and its items, in the transaction that places it."""

from typing import NamedTuple
from uuid import UUID

from florin.cards.delivery_plan import DeliveryPlan
from florin.cards.references import given_reference
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Tx
from florin.orders.item_delivery import plan_columns
from florin.orders.order import OrderItemRequest, OrderRequest
from florin.payments.page_token import make_page_token, page_token_hash

_ORDER = """
insert into florin.orders (merchant, id, number, token_hash, token_sealed, currency, amount,
  buyer_email, buyer_name, locale, gateway, return_url, base_url, actor, metadata, bulk, reference,
  placed_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::text::jsonb, $16,
  $17, clock($1))
"""
_ITEMS = """
insert into florin.order_item (merchant, id, orders, position, program, card, amount, count,
  recipient_name, recipient_email, message, deliver_channel, deliver_at, deliver_zone, deliver_due,
  deliver_locale, deliver_phone)
select $1, u.id, $2, u.n - 1, u.program, u.card, u.amount, u.count, u.name, u.email, u.message,
  u.channel, u.at, u.zone, u.due, u.locale, u.phone
from unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::bigint[], $7::smallint[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::timestamptz[],
    $15::text[], $16::text[]) with ordinality
  as u (id, program, card, amount, count, name, email, message, channel, at, zone, due, locale,
    phone, n)
"""
# Orders of one merchant wait here for each other.
_NUMBER = """
insert into florin.order_number as n (merchant, last) values ($1, 1)
on conflict (merchant) do update set last = n.last + 1 returning last
"""


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

    token_hash: bytes
    token_sealed: bytes


def new_page(sealer: Sealer, merchant: UUID, order: UUID) -> NewPage:
    token = make_page_token()
    sealed = sealer.seal(token, bound_to=merchant.bytes + order.bytes)
    return NewPage(page_token_hash(token), sealed)


def total_of(items: list[PricedItem]) -> int:
    return sum(item.request.amount * item.request.count for item in items)


async def insert_order_in(
    tx: Tx,
    origin: OrderOrigin,
    request: OrderRequest,
    order: UUID,
    page: NewPage,
    items: list[PricedItem],
    *,
    bulk: bool,
) -> None:
    number = await tx.value(_NUMBER, origin.merchant)
    await tx.run(
        _ORDER,
        origin.merchant,
        order,
        number,
        page.token_hash,
        page.token_sealed,
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
    )


async def insert_items_in(
    tx: Tx,
    merchant: UUID,
    order: UUID,
    items: list[PricedItem],
    plans: list[DeliveryPlan | None],
) -> None:
    """Write the items in their order, in one statement."""
    rows = [
        (
            ids.new_id(),
            program,
            card,
            item.amount,
            item.count,
            item.recipient.name if item.recipient else None,
            item.recipient.email if item.recipient else None,
            *plan_columns(item, plan),
        )
        for (item, program, card, _), plan in zip(items, plans, strict=True)
    ]
    await tx.run(_ITEMS, merchant, order, *(list(column) for column in zip(*rows, strict=True)))
