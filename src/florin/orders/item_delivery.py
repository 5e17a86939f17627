"""Item delivery: how the cards of an order's item are delivered once it is paid."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from florin.cards.delivery_plan import DeliveryPlan, plan_delivery, refuse_phone
from florin.kit.amounts import DEFAULT_LOCALE
from florin.kit.email_address import normalized
from florin.kit.errors import InvalidRequest
from florin.kit.postgres.database import Database, Row
from florin.orders.order import OrderItemRequest, OrderRequest


async def plan_items(
    database: Database,
    merchant: UUID,
    request: OrderRequest,
    *,
    sms: bool,
    alike: bool = False,
) -> list[DeliveryPlan | None]:
    """The delivery of each item; None: by e-mail, once the order is paid. `sms`: whether this
    installation sends messages by SMS; `alike`: the items differ in their recipients only. Raises
    InvalidRequest with the item's field.
    """
    plans: list[DeliveryPlan | None] = []
    for n, item in enumerate(request.items):
        first = plans[0] if alike and plans else None
        if first is not None:
            plans.append(replace(first, address=_address_alike(first, item)))
            continue
        try:
            plans.append(await _plan_item(database, merchant, item, sms=sms))
        except InvalidRequest as error:
            raise InvalidRequest(error.detail, param=f"items[{n}].{error.param}") from None
    return plans


def _address_alike(first: DeliveryPlan, item: OrderItemRequest) -> str | None:
    """The address of an item of a list, which has numbers in E.164."""
    recipient = item.recipient
    if recipient is None or first.channel == "link":
        return None
    if first.channel == "sms":
        return None if recipient.phone is msgspec.UNSET else recipient.phone
    return recipient.email and normalized(recipient.email)


async def _plan_item(
    database: Database, merchant: UUID, item: OrderItemRequest, *, sms: bool
) -> DeliveryPlan | None:
    """Raises InvalidRequest with a field of the item."""
    deliver = item.deliver
    if deliver is msgspec.UNSET or deliver.channel != "sms":
        refuse_phone(item.recipient)
    if deliver is msgspec.UNSET:
        return None
    if item.card is not None:
        detail = "a top-up is of a card that its holder has; leave deliver out"
        raise InvalidRequest(detail, param="deliver")
    return await plan_delivery(database, merchant, deliver, item.recipient, sms=sms)


def plan_columns(item: OrderItemRequest, plan: DeliveryPlan | None) -> tuple[Any, ...]:
    """`message` and the columns `deliver_…` of `order_item`, in their order."""
    if plan is None:
        return item.message, None, None, None, None, None, None
    message = item.message if plan.message is None else plan.message
    local = None if plan.local_time is None else plan.local_time.isoformat(timespec="minutes")
    phone = plan.address if plan.channel == "sms" else None
    return message, plan.channel, local, plan.timezone, plan.due_at, plan.locale, phone


def plan_of_item(item: Row) -> DeliveryPlan | None:
    """The delivery of a paid item, to its recipient or else to the buyer; None: the addresses were
    erased.
    """
    channel = item["deliver_channel"] or "email"
    address = item["deliver_phone"]
    if channel == "email" and item["address"] is not None:
        address = normalized(item["address"])
    if address is None and channel != "link":
        return None
    local = item["deliver_at"]
    return DeliveryPlan(
        channel=channel,
        address=address,
        due_at=item["deliver_due"],
        local_time=None if local is None else datetime.fromisoformat(local),
        timezone=item["deliver_zone"],
        message=item["message"],
        locale=item["deliver_locale"] or item["locale"] or DEFAULT_LOCALE,
    )
