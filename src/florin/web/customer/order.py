"""Order page: what happens to an order, for the person who has its link, `/o/{token}`.

While the outcome of a payment is open, the page does not say that it failed, and offers no other
payment. What the buyer may change is in `order_changes.py`.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

from litestar import get

from florin.cards.card import parse_card_id
from florin.cards.issuing import CardIssuer
from florin.deliveries.changes import CORRECTABLE, ENDED, ERASED
from florin.deliveries.delivery import delivery_from_row
from florin.kit.errors import NotFound, Overloaded
from florin.kit.postgres.database import Database
from florin.orders.order import Order
from florin.orders.order_page import OrderView, find_token, read_order_view
from florin.orders.services import OrderServices
from florin.web.customer.shop import shop_of
from florin.web.pages import PAGE, PageResponse, PageView

SHOWN = 20  # deliveries of one order on its page; those that failed come first
_DELIVERIES = """
select d.* from unnest($2::text[]) with ordinality w (cause, n)
join florin.delivery d on d.merchant = $1 and d.cause = w.cause
order by d.state not in ('bounced', 'failed'), w.n
"""


@get("/o/{token:str}", **PAGE)
async def order_page(
    view: PageView, db: Database, selling: OrderServices, cards: CardIssuer, token: str
) -> PageResponse:
    """Loading it has no effect but a look at the payment, every two seconds at most."""
    try:
        row = await find_token(db, token)
        if row["state"] == "placed":
            with suppress(Overloaded):  # a later look settles it
                await selling.looker.look_by_page(row["merchant"], row["payment"])
        found = await read_order_view(db, token)
    except NotFound:
        return refuse_order(view)
    return await show_order(view, db, cards, token, found)


async def show_order(
    view: PageView,
    db: Database,
    cards: CardIssuer,
    token: str,
    order_view: OrderView,
    *,
    template: str = "customer/order.html",
    status: int = 200,
    problem: tuple[str, str] = ("", ""),
    typed: str = "",
) -> PageResponse:
    """The page of an order. `problem`: the id of a delivery, or nothing, and what is wrong;
    `typed`: the address or number that was typed for it.
    """
    shop = await shop_of(db, order_view.merchant)
    view.in_zone(shop.timezone)
    merchant, order = order_view.merchant, order_view.order
    made = list_issued(order)
    sent = await list_deliveries(db, merchant, made)
    printed = [
        url
        for each in sent
        if each["channel"] == "link"
        and (url := (await cards.deliveries.delivery_of_issue(db, merchant, each["card"]))[1])
    ]
    shown = view.show(
        template,
        status=status,
        shop=shop,
        order=order,
        outcome=_outcome(order_view),
        payment=order_view.payment.hex,
        payable=order_view.payable,
        withdrawable=order_view.withdrawable,
        cards=order_view.cards,
        sent=[each for each in sent if each["channel"] != "link"][:SHOWN],
        printed=printed[:SHOWN],
        token=token,
        here=f"/o/{token}",
        problem=problem,
        typed=typed,
    )
    shown.headers["x-robots-tag"] = "noindex, nofollow"
    return shown


def refuse_order(view: PageView) -> PageResponse:
    """One answer for every address that is not an order's."""
    return view.show("customer/order-unknown.html", status=404, referrer="no-referrer")


def list_issued(order: Order) -> list[UUID]:
    """The cards that an order made. One that it topped up belongs to someone else: its link, its
    address and its messages are not the buyer's.
    """
    return [
        parse_card_id(card, param="card")
        for item in order.items
        if item.card is None
        for card in item.cards
    ]


async def list_deliveries(db: Database, merchant: UUID, cards: list[UUID]) -> list[dict[str, Any]]:
    """What was sent of each card: those that failed first, then in the order of the cards."""
    found: list[dict[str, Any]] = []
    for row in await db.all(_DELIVERIES, merchant, [f"issue:{card.hex}" for card in cards]):
        shown = delivery_from_row(row)
        addressed = shown.channel in {"email", "sms"} and shown.address != ERASED
        found.append(
            {
                "id": shown.id,
                "card": row["card"],
                "channel": shown.channel,
                "address": shown.address,
                "state": shown.state,
                "due_at": shown.due_at,
                "zone": shown.timezone,
                "at": row["local_time"],
                "correctable": addressed and shown.state in CORRECTABLE,
                "resendable": addressed and shown.state in {*ENDED} - {"cancelled"},
            }
        )
    return found


def _outcome(shown: OrderView) -> str:
    """review, refunded, or the outcome of the payment."""
    if shown.order.state == "review":
        return "review"
    if shown.outcome == "paid" and shown.order.refunded >= shown.order.amount:
        return "refunded"
    return shown.outcome


handlers = [order_page]
