"""Orders: the list with its search, an order with its payments, and every action on it."""

from typing import Annotated, Any

from litestar import get, post
from litestar.params import Parameter

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_PAGE = 25
_CARDS_SHOWN = 5  # of an order, with their balances and deliveries
_PLAIN = frozenset(("cancel", "retry", "withdraw"))
# What the dashboard of the gateway `test` does, by the action of a form.
_AT_TEST_GATEWAY = {"gateway-refund": "refund", "gateway-dispute": "dispute"} | {
    "gateway-win": "win",
    "gateway-lose": "lose",
}
_SHOWN_ERRORS = frozenset((402, 409, 422))


@get("/console/orders", **PAGE)
async def list_orders(
    view: PageView,
    visitor: Visitor,
    q: str = "",
    order_state: Annotated[str, Parameter(query="state")] = "",
    after: str = "",
) -> PageResponse:
    """Search by the id of an order or of a payment, or by the buyer's whole address."""
    frame = await open_frame(view, visitor)
    searched = q.strip()
    if ids.parse_id("ord", searched) is not None:
        return view.go(f"/console/orders/{searched}")
    page: dict[str, Any] = {"data": [], "has_more": False}
    if ids.parse_id("pay", searched) is not None:
        try:
            payment = await frame.api.get(f"/payments/{searched}")
            return view.go(f"/console/orders/{payment['order']}")
        except ApiProblem as refused:
            if refused.status != 404:  # noqa: PLR2004 -- no payment of this merchant
                raise
    else:
        page = await frame.api.get(
            "/orders", limit=_PAGE, email=searched, state=order_state, starting_after=after
        )
    return frame.show("console/orders.html", page=page, q=q, chosen_state=order_state, after=after)


@get("/console/disputes", **PAGE)
async def list_disputes(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    frame = await open_frame(view, visitor)
    page = await frame.api.get("/disputes", limit=_PAGE, starting_after=after)
    return frame.show("console/disputes.html", page=page, after=after)


@get("/console/orders/{order:str}", **PAGE)
async def order_page(view: PageView, visitor: Visitor, order: str) -> PageResponse:
    return await _show_order(await open_frame(view, visitor), order)


@post("/console/orders/{order:str}/{action:str}", status_code=200, **PAGE)
async def change_order(view: PageView, visitor: Visitor, order: str, action: str) -> PageResponse:
    """Do one thing to an order. The API checks that this person may."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    try:
        if action in _PLAIN:
            await frame.api.post(f"/orders/{order}/{action}")
        elif action == "refund":
            wrong = await _refund(frame, order, form)
            if wrong:
                return await _show_order(frame, order, error=wrong, form=form)
        elif action in _AT_TEST_GATEWAY:
            payment = form.text("payment")
            ids.require_id("pay", payment)  # nothing else may become part of a path
            done = _AT_TEST_GATEWAY[action]
            await frame.api.post(f"/test-gateway/payments/{payment}/{done}")
        else:
            raise NotFound
    except ApiProblem as refused:
        if refused.status not in _SHOWN_ERRORS:
            raise
        found = await frame.api.get(f"/orders/{order}")
        why = _reason(frame, refused, found["currency"])
        return await _show_order(frame, order, error=why, form=form, status=refused.status)
    return view.go(f"/console/orders/{order}", done=action)


async def _refund(frame: ConsoleFrame, order: str, form: PageForm) -> str:
    """Ask for the refund; return what is wrong with the form, or nothing."""
    found = await frame.api.get(f"/orders/{order}")
    typed, reason = form.text("amount"), form.text("reason")
    amount = minor_units(typed, found["currency"]) if typed else None
    if typed and not amount:
        return frame.view.word("Type an amount, such as 25.00.")
    if not reason:
        return frame.view.word("Say why. The reason stays with the refund.")
    body: dict[str, Any] = {"reason": reason, "beyond_unspent": form.ticked("beyond")}
    if amount:
        body["amount"] = amount
    await frame.api.post(f"/orders/{order}/refunds", body, key=form.text("key"))
    return ""


def _reason(frame: ConsoleFrame, refused: ApiProblem, currency: str) -> str:
    """Why the API refused, with amounts as people read them."""
    view = frame.view
    if refused.code == "refund_exceeds_unspent":
        left = view.formats.plain(int(refused.problem.get("unspent", 0)), currency)
        text = view.word("%(sum)s is unspent on the cards. Only an owner refunds more, as a loss.")
        return text % {"sum": left}
    if refused.code == "refund_exceeds_payment":
        left = view.formats.plain(int(refused.problem.get("refundable", 0)), currency)
        return view.word("%(sum)s of the payment can still be refunded.") % {"sum": left}
    return refused.detail


async def _show_order(
    frame: ConsoleFrame,
    order: str,
    *,
    error: str = "",
    form: PageForm | None = None,
    status: int = 422,
) -> PageResponse:
    api = frame.api
    found = await api.get(f"/orders/{order}")
    payments = (await api.get("/payments", order=order, limit=100))["data"]
    refunds: list[Any] = []
    disputes: list[Any] = []
    for payment in payments:
        if payment["received"]:
            of = {"payment": payment["id"], "limit": 100}
            refunds += (await api.get("/payment-refunds", **of))["data"]
            disputes += (await api.get("/disputes", **of))["data"]
    issued = [card for item in found["items"] for card in item["cards"]]
    cards = [await api.get(f"/cards/{card}") for card in issued[:_CARDS_SHOWN]]
    sent: list[Any] = []
    if frame.may("deliveries:read"):
        for card in cards:
            sent += (await api.get("/deliveries", card=card["id"], limit=5))["data"]
    programs = {
        each: (await api.get(f"/programs/{each}"))["name"]
        for each in {item["program"] for item in found["items"]}
    }
    return frame.show(
        "console/order.html",
        status=status if error else 200,
        order=found,
        payments=payments,
        refunds=refunds,
        disputes=disputes,
        cards=cards,
        more_cards=issued[_CARDS_SHOWN:],
        sent=sent,
        programs=programs,
        error=error,
        typed={name: form.text(name) for name in ("amount", "reason")} if form else {},
        key=frame.view.new_key(),
    )


handlers = [list_orders, list_disputes, order_page, change_order]
