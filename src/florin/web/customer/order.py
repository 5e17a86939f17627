"""Order page: what happens to an order, for the person who has its link, `/o/{token}`.

While the outcome of a payment is open, the page does not say that it failed, and offers no other
payment.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

from litestar import get

from florin.cards.card import parse_card_id
from florin.cards.delivering import CardDeliveries
from florin.deliveries.card_links import CardLinks
from florin.deliveries.delivery import delivery_from_row
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, Overloaded
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.orders.order_page import OrderView, find_token, read_order_view
from florin.orders.services import OrderServices
from florin.web.customer.shop import shop_of
from florin.web.pages import PAGE, PageResponse, PageView

_DELIVERIES = """
select d.* from unnest($2::text[]) with ordinality w (cause, n)
join florin.delivery d on d.merchant = $1 and d.cause = w.cause order by w.n
"""


@get("/o/{token:str}", **PAGE)
async def order_page(
    view: PageView,
    db: Database,
    selling: OrderServices,
    card_links: CardLinks,
    sealer: Sealer,
    settings: Settings,
    token: str,
) -> PageResponse:
    """Loading it has no effect but a look at the payment, every two seconds at most."""
    try:
        row = await find_token(db, token)
        if row["state"] == "placed":
            with suppress(Overloaded):  # a later look settles it
                await selling.looker.look_by_page(row["merchant"], row["payment"])
        found = await read_order_view(db, token)
    except NotFound:
        return view.show("customer/order-unknown.html", status=404, referrer="no-referrer")
    shop = await shop_of(db, found.merchant)
    view.in_zone(shop.timezone)
    cards = [parse_card_id(card, param="card") for item in found.order.items for card in item.cards]
    sent = await _deliveries(db, found.merchant, cards)
    links = CardDeliveries(links=card_links, sealer=sealer, public_url=settings.page_origin)
    printed = [
        url
        for card in cards
        if sent.get(card, {}).get("channel") == "link"
        and (url := (await links.delivery_of_issue(db, found.merchant, card))[1])
    ]
    return view.show(
        "customer/order.html",
        referrer="no-referrer",
        shop=shop,
        order=found.order,
        outcome=_outcome(found),
        cards=found.cards,
        sent=list(sent.values()),
        printed=printed,
    )


async def _deliveries(
    db: Database, merchant: UUID, cards: list[UUID]
) -> dict[UUID, dict[str, Any]]:
    """What was sent of each card, in the order of the cards."""
    rows = await db.all(_DELIVERIES, merchant, [f"issue:{card.hex}" for card in cards])
    found: dict[UUID, dict[str, Any]] = {}
    for row in rows:
        shown = delivery_from_row(row)
        found[row["card"]] = {
            "channel": shown.channel,
            "address": shown.address,
            "state": shown.state,
            "due_at": shown.due_at,
            "zone": shown.timezone,
            "at": row["local_time"],
        }
    return found


def _outcome(shown: OrderView) -> str:
    """review, refunded, or the outcome of the payment."""
    if shown.order.state == "review":
        return "review"
    if shown.outcome == "paid" and shown.order.refunded >= shown.order.amount:
        return "refunded"
    return shown.outcome


handlers = [order_page]
