"""Storefront: a customer chooses a card, checks it, and goes on to pay, `/s/{slug}`.

The pages with the form are the same for everyone, so a CDN may keep them. What was typed is checked
and shown once more with its price, and that page alone can place an order.
"""

import msgspec
from litestar import get, post

from florin.identity.network_limits import NetworkLimit
from florin.identity.services import IdentityServices
from florin.kit.email_address import is_email
from florin.kit.encryption import Sealer
from florin.kit.errors import IdempotencyKeyReused, InvalidRequest, NotFound, OutcomeUnknown
from florin.kit.postgres.database import Database
from florin.kit.rate_limits.limiter import Limit
from florin.kit.settings import Settings
from florin.ledger.refusals import AmountNotAllowed, ProgramNotFound
from florin.merchants.program import Program
from florin.orders.checkout import OrderNotPayable
from florin.orders.order_rows import OrderOrigin
from florin.orders.services import OrderServices
from florin.payments.gateway import CurrencyNotSupportedByGateway, GatewayOff
from florin.web.customer.gift import (
    Draft,
    DraftExpired,
    Gift,
    check_gift,
    open_draft,
    order_request,
    read_gift,
    seal_draft,
)
from florin.web.customer.shop import find_shop, list_sold
from florin.web.customer.storefront_views import form_context, show_checkout, show_form
from florin.web.pages import PAGE, PageResponse, PageView

ACTOR = "storefront"
# New orders of one address and its network, and of all customers of a merchant together.
ORDERS = NetworkLimit(
    Limit("order-address", 30, per_s=3600), Limit("order-network", 120, per_s=3600)
)
ORDERS_OF_MERCHANT = Limit("order-merchant", 600, per_s=600)
_CLOSED = (GatewayOff, CurrencyNotSupportedByGateway, OrderNotPayable)


@get("/s/{slug:str}", **PAGE)
async def storefront(
    view: PageView, db: Database, selling: OrderServices, slug: str
) -> PageResponse:
    shop = await find_shop(db, slug)
    sold = await list_sold(db, shop.merchant)
    if not sold:
        return await view.show_public("customer/closed.html", shop, lambda: {"shop": shop})
    return await show_form(view, selling, shop, sold, sold[0])


@get("/s/{slug:str}/{program:str}", **PAGE)
async def storefront_program(
    view: PageView, db: Database, selling: OrderServices, slug: str, program: str
) -> PageResponse:
    shop = await find_shop(db, slug)
    sold = await list_sold(db, shop.merchant)
    return await show_form(view, selling, shop, sold, _find(sold, program))


@post("/s/{slug:str}/{program:str}", status_code=200, **PAGE)
async def check_order(
    view: PageView, db: Database, sealer: Sealer, selling: OrderServices, slug: str, program: str
) -> PageResponse:
    """Check what was typed, and show it with its price; or the form again, with what is wrong."""
    shop = await find_shop(db, slug)
    sold = await list_sold(db, shop.merchant)
    chosen = _find(sold, program)
    form = await view.form()
    if form.text("change"):
        try:
            gift = open_draft(sealer, shop.merchant, form.text("draft")).gift
        except DraftExpired as expired:
            gift = expired.gift or Gift(program=chosen.id)
        return view.show(
            "customer/shop.html", **form_context(view, selling, shop, sold, chosen, gift)
        )
    if form.text("show"):  # the page with the price, in another language
        try:
            draft = open_draft(sealer, shop.merchant, form.text("draft"))
        except DraftExpired:
            return view.go(f"/s/{slug}", lang=view.asked_language)
        return show_checkout(view, shop, chosen, draft.gift, form.text("draft"))
    gift = read_gift(form, chosen, shop.timezone, sms=selling.checkout.sms)
    errors = await check_gift(view, db, shop.merchant, chosen, gift)
    if errors or form.text("preview"):
        shown = {} if form.text("preview") else errors
        context = form_context(view, selling, shop, sold, chosen, gift, shown)
        return view.show("customer/shop.html", status=422 if shown else 200, **context)
    draft = seal_draft(sealer, shop.merchant, gift)
    return show_checkout(view, shop, chosen, gift, draft)


@post("/s/{slug:str}/orders", status_code=200, **PAGE)
async def place_order(
    view: PageView,
    db: Database,
    sealer: Sealer,
    identity: IdentityServices,
    selling: OrderServices,
    settings: Settings,
    slug: str,
) -> PageResponse:
    """Place the order of a draft, once, and lead on to where it is paid."""
    shop = await find_shop(db, slug)
    form = await view.form()
    sold = await list_sold(db, shop.merchant)
    try:
        draft = open_draft(sealer, shop.merchant, form.text("draft"))
    except DraftExpired as expired:
        if expired.gift is None or not sold:
            return view.go(f"/s/{slug}")
        chosen = _find(sold, expired.gift.program)
        late = {"": view.word("Two hours have passed. Look at it once more and go on.")}
        context = form_context(view, selling, shop, sold, chosen, expired.gift, late)
        return view.show("customer/shop.html", status=410, **context)
    email = form.text("email")
    chosen = next((each for each in sold if each.id == draft.gift.program), None)
    if chosen is None:  # it is no longer for sale
        return view.go(f"/s/{slug}")
    if not is_email(email):
        errors = {"email": view.word("Type a whole e-mail address, such as tomas@example.com.")}
        return show_checkout(view, shop, chosen, draft.gift, form.text("draft"), email, errors)
    await identity.limits.take(ORDERS, identity.client(view.request).address)
    await identity.limits.take_of(ORDERS_OF_MERCHANT, shop.merchant.hex)
    base = settings.public_url or str(view.request.base_url).rstrip("/")
    origin = OrderOrigin(shop.merchant, ACTOR, base)
    try:
        target = await _order(view, selling, origin, draft, email)
    except (AmountNotAllowed, ProgramNotFound):
        errors = {"": view.word("What the shop sells has changed meanwhile. Choose again.")}
        context = form_context(view, selling, shop, sold, chosen, draft.gift, errors)
        return view.show("customer/shop.html", status=422, **context)
    except (*_CLOSED, IdempotencyKeyReused, OutcomeUnknown, InvalidRequest) as refused:
        errors = {"": _explain(view, refused)}
        sent = form.text("draft")
        return show_checkout(
            view, shop, chosen, draft.gift, sent, email, errors, status=refused.status
        )
    return view.go(target)


async def _order(
    view: PageView,
    selling: OrderServices,
    origin: OrderOrigin,
    draft: Draft,
    email: str,
) -> str:
    """Where the customer goes on: to the payment, or to the order if that is over."""
    try:
        request = order_request(draft.gift, email, view.language)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from None
    order = (await selling.checkout.place_order(origin, request, key=draft.key)).order
    assert order.url is not msgspec.UNSET
    return order.pay_url or order.url


def _explain(view: PageView, refused: Exception) -> str:
    if isinstance(refused, OutcomeUnknown):
        return view.word(
            "The payment page did not answer. Nothing was charged. Press the button once more:"
            " it stays one order."
        )
    if isinstance(refused, _CLOSED):
        return view.word("The shop cannot take payments now. Nothing was charged.")
    if isinstance(refused, IdempotencyKeyReused):
        return view.word(
            "This order was placed already, with another e-mail address. Begin again for another"
            " gift."
        )
    return str(refused)


def _find(sold: list[Program], program: str) -> Program:
    found = next((each for each in sold if each.id == program), None)
    if found is None:
        raise NotFound
    return found


handlers = [storefront, storefront_program, place_order, check_order]
