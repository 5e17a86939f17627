"""Top-up: the person who has the link of a card puts money on it, `/c/{token}/top-up`.

It places an order for the card that the token opens, and for no other: the address is the only
credential, and the key of the order is bound to the card. The way back from the payment is the
order's page: no gateway learns the address of the card's.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

import msgspec
from litestar import get, post

from florin.cards.page_facts import CardPageFacts, open_card_page
from florin.deliveries.card_links import CardLinks
from florin.identity.services import IdentityServices
from florin.kit import ids
from florin.kit.email_address import is_email
from florin.kit.errors import IdempotencyKeyReused, InvalidRequest, OutcomeUnknown, Refusal
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.ledger import refusals
from florin.orders.checkout import OrderNotPayable
from florin.orders.order import Buyer, OrderItemRequest, OrderRequest
from florin.orders.order_rows import OrderOrigin
from florin.orders.services import OrderServices
from florin.payments.gateway import CurrencyNotSupportedByGateway, GatewayOff
from florin.web.customer.card import HIDDEN, refuse_card
from florin.web.customer.shop import ShopFront, shop_of
from florin.web.customer.storefront import ORDERS, ORDERS_OF_MERCHANT
from florin.web.customer.top_up_offer import TopUpOffer, find_offer
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.pages import PAGE, PageResponse, PageView

ACTOR = "card-page"
# The card changed since its page was loaded: that page says how.
_CARD_CHANGED = (
    refusals.CardBlocked,
    refusals.CardExpired,
    refusals.CardClosed,
    refusals.CardNotActive,
    refusals.CardNotFound,
)
_EXPLAINED = (
    GatewayOff,
    CurrencyNotSupportedByGateway,
    OrderNotPayable,
    OutcomeUnknown,
    IdempotencyKeyReused,
    InvalidRequest,
    refusals.BalanceLimitExceeded,
    refusals.AmountNotAllowed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedTopUp:
    """What was typed, and the amount in minor units if it can be read."""

    amount: str = ""
    sum: str = ""
    email: str = ""
    minor: int | None = None


@get("/c/{token:str}/top-up", **PAGE)
async def top_up_page(
    view: PageView, db: Database, card_links: CardLinks, settings: Settings, token: str
) -> PageResponse:
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None:
        return refuse_card(view)
    shop = await shop_of(db, card.merchant_id)
    offer = await find_offer(db, shop, card)
    if offer is None:
        return view.go(f"/c/{token}", lang=view.asked_language)
    middle = str(offer.amounts[min(1, len(offer.amounts) - 1)]) if offer.amounts else "other"
    return _show(view, shop, card, offer, token, TypedTopUp(amount=middle))


@post("/c/{token:str}/top-up", status_code=200, **PAGE)
async def order_top_up(
    view: PageView,
    db: Database,
    card_links: CardLinks,
    settings: Settings,
    identity: IdentityServices,
    selling: OrderServices,
    token: str,
) -> PageResponse:
    """Place the order, once for each form, and lead on to where it is paid."""
    form = await view.form()
    card = await open_card_page(db, card_links, settings.key_ring("code_pepper"), token)
    if card is None:
        return refuse_card(view)
    shop = await shop_of(db, card.merchant_id)
    offer = await find_offer(db, shop, card)
    if offer is None:
        return view.go(f"/c/{token}", lang=view.asked_language)
    typed = _read(form, offer.program.currency)
    errors = _check(view, offer, typed)
    if errors:
        return _show(view, shop, card, offer, token, typed, errors, key=form.text("key"))
    await identity.limits.take(ORDERS, identity.client(view.request).address)
    await identity.limits.take_of(ORDERS_OF_MERCHANT, card.merchant_id.hex)
    base = settings.public_url or str(view.request.base_url).rstrip("/")
    origin = OrderOrigin(card.merchant_id, ACTOR, base)
    key = _key_of(card.card, form.text("key") or view.new_key())
    try:
        target = await _place(view, selling, origin, card, offer, typed, key)
    except _CARD_CHANGED:
        return view.go(f"/c/{token}", lang=view.asked_language)
    except _EXPLAINED as refused:
        # The same form once more, unless it has become an order already.
        again = "" if isinstance(refused, IdempotencyKeyReused) else form.text("key")
        errors = {"": _explain(view, refused)}
        return _show(
            view, shop, card, offer, token, typed, errors, key=again, status=refused.status
        )
    return view.go(target)


async def _place(
    view: PageView,
    selling: OrderServices,
    origin: OrderOrigin,
    card: CardPageFacts,
    offer: TopUpOffer,
    typed: TypedTopUp,
    key: str,
) -> str:
    """Where the holder goes on: to the payment, or to the order if that is over."""
    assert typed.minor is not None
    item = OrderItemRequest(
        program=offer.program.id, amount=typed.minor, card=ids.show_id("crd", card.card)
    )
    request = OrderRequest(items=[item], buyer=Buyer(email=typed.email), locale=view.language)
    try:
        checked = msgspec.convert(msgspec.to_builtins(request), OrderRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from None
    order = (await selling.checkout.place_order(origin, checked, key=key)).order
    assert order.url is not msgspec.UNSET
    return order.pay_url or order.url


def _read(form: PageForm, currency: str) -> TypedTopUp:
    amount, free = form.text("amount")[:20], form.text("sum")[:20]
    minor = minor_units(free, currency) if amount == "other" else None
    if amount.isascii() and amount.isdecimal():
        minor = int(amount)
    return TypedTopUp(amount=amount, sum=free, email=form.text("email")[:254], minor=minor)


def _check(view: PageView, offer: TopUpOffer, typed: TypedTopUp) -> dict[str, str]:
    errors: dict[str, str] = {}
    if typed.minor is None or not offer.allows(typed.minor):
        low = view.formats.plain(offer.low, offer.program.currency)
        high = view.formats.plain(offer.high, offer.program.currency)
        said = view.word("Choose an amount from %(low)s to %(high)s.")
        errors["sum" if typed.amount == "other" else "amount"] = said % {"low": low, "high": high}
    if not is_email(typed.email):
        errors["email"] = view.word("Type a whole e-mail address, such as tomas@example.com.")
    return errors


def _explain(view: PageView, refused: Refusal) -> str:
    if isinstance(refused, OutcomeUnknown):
        return view.word(
            "The payment page did not answer. Nothing was charged. Press the button once more:"
            " it stays one order."
        )
    if isinstance(refused, IdempotencyKeyReused):
        return view.word(
            "This form was sent before, with another amount or address. To put more on the card,"
            " press the button once more."
        )
    if isinstance(refused, (refusals.BalanceLimitExceeded, refusals.AmountNotAllowed)):
        return view.word("So much does not fit on the card. Choose a smaller amount.")
    if isinstance(refused, InvalidRequest):
        return str(refused)
    return view.word("The shop cannot take payments now. Nothing was charged.")


def _key_of(card: UUID, typed: str) -> str:
    """The key of the order: what a form sends is part of it, and reaches keys of no other card."""
    return f"top-up-{hashlib.sha256(card.bytes + typed.encode()).hexdigest()}"


def _show(
    view: PageView,
    shop: ShopFront,
    card: CardPageFacts,
    offer: TopUpOffer,
    token: str,
    typed: TypedTopUp,
    errors: dict[str, str] | None = None,
    *,
    key: str = "",
    status: int = 0,
) -> PageResponse:
    view.in_zone(card.timezone)
    shown = view.show(
        "customer/top-up.html",
        status=status or (422 if errors else 200),
        shop=shop,
        card=card,
        offer=offer,
        here=f"/c/{token}/top-up",
        back=f"/c/{token}",
        typed=typed,
        errors=errors or {},
        key=key or view.new_key(),
    )
    # Older browsers name the origin of a form by the referrer alone; no other site gets it.
    shown.headers.update({**HIDDEN, "referrer-policy": "same-origin"})
    return shown


handlers = [top_up_page, order_top_up]
