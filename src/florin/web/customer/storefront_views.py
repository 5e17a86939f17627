"""Storefront views: the page with the form, and the one with the price of what was typed."""

from typing import Any

from florin.merchants.program import Program
from florin.orders.services import OrderServices
from florin.web.customer.gift import SENT_WAYS, Gift, offered_amounts
from florin.web.customer.shop import ShopFront
from florin.web.customer.zones import list_zones
from florin.web.formats import currency_exponent
from florin.web.pages import PageResponse, PageView


def form_context(
    view: PageView,
    selling: OrderServices,
    shop: ShopFront,
    sold: list[Program],
    chosen: Program,
    gift: Gift | None = None,
    errors: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What the page with the form shows. `gift`: what was typed."""
    typed = gift is not None
    unit = 10 ** currency_exponent(chosen.currency)
    offered = offered_amounts(chosen, unit)
    if gift is None:
        middle = offered[min(1, len(offered) - 1)]
        gift = Gift(program=chosen.id, amount=str(middle), zone=shop.timezone)
    if not gift.minor and gift.amount.isdecimal():
        gift.minor = int(gift.amount[:15])
    view.in_zone(shop.timezone)
    return {
        "shop": shop,
        "sold": sold,
        "chosen": chosen,
        "offered": offered,
        "free": chosen.denominations is None and chosen.min_amount < chosen.max_amount,
        "gift": gift,
        "errors": errors or {},
        "zones": list_zones(view.formats, gift.zone, shop.timezone),
        "unit": unit,
        "typed": typed,
        "sms": selling.checkout.sms,
    }


async def show_form(
    view: PageView,
    selling: OrderServices,
    shop: ShopFront,
    sold: list[Program],
    chosen: Program,
) -> PageResponse:
    """The page with the form as it begins, the same for everyone."""
    return await view.show_public(
        "customer/shop.html",
        (shop, sold, chosen.id, selling.checkout.sms),
        lambda: form_context(view, selling, shop, sold, chosen),
    )


def show_checkout(
    view: PageView,
    shop: ShopFront,
    chosen: Program,
    gift: Gift,
    draft: str,
    email: str = "",
    errors: dict[str, str] | None = None,
    *,
    status: int = 0,
) -> PageResponse:
    at = None
    if gift.way in SENT_WAYS and gift.when == "later":
        at = view.formats.wall_day(gift.date)
    return view.show(
        "customer/checkout.html",
        status=status or (422 if errors else 200),
        shop=shop,
        chosen=chosen,
        gift=gift,
        at=at,
        draft=draft,
        email=email,
        errors=errors or {},
    )
