"""Order changes: what the buyer may do on the page of an order: correct the address or the number
of a delivery, send it again, pay again after a payment failed, withdraw.

The address of the page is the only credential. Each change is checked again where it is made.
"""

from uuid import UUID

import msgspec
from litestar import get, post

from florin.cards.delivering import CardNotDeliverable, CodeNotAvailable
from florin.cards.issuing import CardIssuer
from florin.deliveries.changes import DeliveryChange, DeliveryStateConflict, change_delivery
from florin.deliveries.channels.phone_number import read_local_phone
from florin.identity.audit_log import AuditActor
from florin.identity.services import IdentityServices
from florin.kit.email_address import is_email
from florin.kit.errors import NotFound, OutcomeUnknown, Overloaded, Refusal
from florin.kit.postgres.database import Database
from florin.kit.rate_limits.limiter import Limit
from florin.ledger.refusals import CardNotFound
from florin.orders import refunding
from florin.orders.checkout import OrderNotPayable
from florin.orders.order import find_order, parse_order_id
from florin.orders.order_page import OrderView, read_order_view
from florin.orders.refunds import OrderNotPaid, PaymentDisputed
from florin.orders.services import OrderServices
from florin.payments.gateway import GatewayOff
from florin.web.customer.order import list_deliveries, list_issued, refuse_order, show_order
from florin.web.pages import PAGE, PageResponse, PageView

ACTOR = "order-page"
# Messages that one order may cause: its page must not be a way to send many to someone.
SENDS = Limit("order-sends", 6, per_s=3600)
_CANNOT_SEND = (DeliveryStateConflict, CardNotDeliverable, CodeNotAvailable, CardNotFound)


@post("/o/{token:str}/deliveries/{delivery:str}", status_code=200, **PAGE)
async def change_sending(
    view: PageView,
    db: Database,
    identity: IdentityServices,
    cards: CardIssuer,
    token: str,
    delivery: str,
) -> PageResponse:
    """Correct the address, if one was typed, and send what was sent or failed again."""
    form = await view.form()
    try:
        found = await read_order_view(db, token)
        sent = await _find_sent(db, found, delivery)
    except NotFound:
        return refuse_order(view)
    by = AuditActor(
        merchant=found.merchant, actor=ACTOR, request_id=identity.client(view.request).request_id
    )
    typed = form.text("address")[:254]
    change = DeliveryChange()
    if sent["correctable"] and typed:
        wrong = await _explain_address(view, db, found.merchant, sent["channel"], typed)
        if wrong:
            return await show_order(
                view, db, cards, token, found, status=422, problem=(delivery, wrong), typed=typed
            )
        change = DeliveryChange(address=typed)
    await identity.limits.take_of(SENDS, parse_order_id(found.order.id).hex)
    try:
        if change.address is not msgspec.UNSET:
            await change_delivery(db, by, delivery, change)
        if sent["resendable"]:
            await cards.deliveries.resend(db, by, delivery, None)
    except _CANNOT_SEND as refused:
        text = _explain(view, refused)
        found = await read_order_view(db, token)
        return await show_order(
            view, db, cards, token, found, status=409, problem=(delivery, text), typed=typed
        )
    done = "resent" if sent["resendable"] else "corrected"
    return view.go(f"/o/{token}", done=done, lang=view.asked_language)


@post("/o/{token:str}/pay", status_code=200, **PAGE)
async def pay_again(
    view: PageView, db: Database, selling: OrderServices, cards: CardIssuer, token: str
) -> PageResponse:
    """Lead to another attempt to pay; pressed twice, it is one attempt."""
    form = await view.form()
    try:
        found = await read_order_view(db, token)
    except NotFound:
        return refuse_order(view)
    order = parse_order_id(found.order.id)
    try:
        if found.payable and form.text("after") == found.payment.hex:
            # The attempts so far have ended, and none is closed here: one that another press began
            # a moment ago must stay open.
            await selling.looker.look_at_order(found.merchant, order)
            await selling.checkout.retry_order(found.merchant, order, after=found.payment)
        elif found.outcome == "open":
            # Another press began it a moment ago, and has perhaps not asked for its page yet.
            await selling.checkout.open_payment(found.merchant, found.payment)
    except (OrderNotPayable, Overloaded):
        pass  # paid or ended meanwhile, or about to be: its page says so
    except (GatewayOff, OutcomeUnknown) as refused:
        text = view.word(
            "The payment page did not answer. Nothing was charged. Press the button once more:"
            " it stays one order."
        )
        found = await read_order_view(db, token)
        return await show_order(
            view, db, cards, token, found, status=refused.status, problem=("", text)
        )
    placed = await find_order(db, found.merchant, order)
    return view.go(placed.pay_url or f"/o/{token}")


@get("/o/{token:str}/withdraw", **PAGE)
async def ask_to_withdraw(
    view: PageView, db: Database, cards: CardIssuer, token: str
) -> PageResponse:
    """What it means, before the button."""
    try:
        found = await read_order_view(db, token)
    except NotFound:
        return refuse_order(view)
    if not found.withdrawable:
        return view.go(f"/o/{token}", lang=view.asked_language)
    template = "customer/order-withdraw.html"
    return await show_order(view, db, cards, token, found, template=template)


@post("/o/{token:str}/withdraw", status_code=200, **PAGE)
async def withdraw(
    view: PageView, db: Database, selling: OrderServices, cards: CardIssuer, token: str
) -> PageResponse:
    try:
        found = await read_order_view(db, token)
    except NotFound:
        return refuse_order(view)
    order = parse_order_id(found.order.id)
    try:
        if found.withdrawable:
            await refunding.withdraw_order(
                db, selling.looker, selling.checkout, found.merchant, order, ACTOR
            )
    except (refunding.WithdrawalPeriodOver, PaymentDisputed, OrderNotPaid) as refused:
        text = _explain(view, refused)
        found = await read_order_view(db, token)
        return await show_order(
            view, db, cards, token, found, status=refused.status, problem=("", text)
        )
    return view.go(f"/o/{token}", done="withdrawn", lang=view.asked_language)


async def _find_sent(db: Database, order_view: OrderView, delivery: str) -> dict[str, object]:
    """The delivery of a card of this order. Raises NotFound."""
    made = list_issued(order_view.order)
    for each in await list_deliveries(db, order_view.merchant, made):
        if each["id"] == delivery and each["channel"] != "link":
            return each
    raise NotFound


async def _explain_address(
    view: PageView, db: Database, merchant: UUID, channel: object, typed: str
) -> str:
    """What is wrong with an address or number that was typed; nothing if it can be used."""
    try:
        msgspec.convert({"address": typed}, DeliveryChange)
    except msgspec.ValidationError:
        usable = False
    else:
        if channel == "sms":
            usable = await read_local_phone(db, merchant, typed) is not None
        else:
            usable = is_email(typed)
    if usable:
        return ""
    if channel == "sms":
        return view.word("Type a whole mobile number, such as +49 1512 3456789.")
    return view.word("Type a whole e-mail address, such as tomas@example.com.")


def _explain(view: PageView, refused: Refusal) -> str:
    if isinstance(refused, DeliveryStateConflict):
        return view.word("It is being sent just now. Look again in a minute.")
    if isinstance(refused, (CodeNotAvailable, CardNotDeliverable, CardNotFound)):
        return view.word("It cannot be sent again from here. Ask the shop with its number.")
    if isinstance(refused, refunding.WithdrawalPeriodOver):
        return view.word("The 14 days are over. Ask the shop.")
    return view.word("This is not possible while the payment is disputed. Ask the shop.")


handlers = [change_sending, pay_again, ask_to_withdraw, withdraw]
