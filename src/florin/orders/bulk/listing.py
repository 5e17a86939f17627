"""Listing: the recipients of a bulk order, in the order of their list."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.cards.card import Recipient
from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.postgres.database import Database

_RECIPIENTS = """
select i.*, o.placed_at, (select c.card from florin.order_card c where c.merchant = i.merchant
  and c.item = i.id limit 1) as issued
from florin.order_item i join florin.orders o on o.merchant = i.merchant and o.id = i.orders
where i.merchant = $1 and i.orders = $2 and i.position > $3
order by i.position limit $4
"""


class OrderRecipient(msgspec.Struct, kw_only=True):
    """One card of an order and the person it is for. `number`: its place in the list, from 1.
    `card`: null until the order is paid and the card is issued.
    """

    id: str
    object: Literal["order_recipient"] = "order_recipient"
    number: int
    recipient: Recipient | None
    amount: int
    message: str | None
    card: str | None
    created_at: datetime


async def list_recipients(
    database: Database, merchant: UUID, order: UUID, *, limit: int, after: UUID | None
) -> list[OrderRecipient]:
    """Raises NotFound, InvalidRequest if `after` is not of this order."""
    if not await database.one(
        "select id from florin.orders where merchant = $1 and id = $2", merchant, order
    ):
        raise NotFound
    position = -1
    if after is not None:
        last = await database.one(
            "select position from florin.order_item"
            " where merchant = $1 and id = $2 and orders = $3",
            merchant,
            after,
            order,
        )
        if last is None:
            raise InvalidRequest("no object of this list has this id", param="starting_after")
        position = last["position"]
    rows = await database.all(_RECIPIENTS, merchant, order, position, limit)
    return [_recipient(row) for row in rows]


def _recipient(row: Mapping[str, Any]) -> OrderRecipient:
    phone = msgspec.UNSET if row["deliver_phone"] is None else row["deliver_phone"]
    recipient = Recipient(name=row["recipient_name"], email=row["recipient_email"], phone=phone)
    return OrderRecipient(
        id=ids.show_id("oit", row["id"]),
        number=row["position"] + 1,
        recipient=None if recipient == Recipient() else recipient,
        amount=row["amount"],
        message=row["message"],
        created_at=row["placed_at"],
        card=None if row["issued"] is None else ids.show_id("crd", row["issued"]),
    )
