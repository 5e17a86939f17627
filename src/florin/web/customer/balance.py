"""Balance page: what is on a card, for anyone who has its code, and its PIN if it has one.

A wrong code, a wrong PIN and a missing PIN have one answer, after one time, and each counts as a
wrong code: no one learns by trying which part was right. The code travels in the body only.
"""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

from litestar import get, post

from florin.cards.card import Card
from florin.cards.code_guessing import guess_weight
from florin.cards.codes import CodeMalformed
from florin.cards.imported_codes import ImportedCodes
from florin.cards.lookup import CardLookup
from florin.cards.request_context import RequestContext
from florin.cards.requests import RedemptionRequest
from florin.cards.transactions.operations import TransactionOperations
from florin.identity.services import IdentityServices
from florin.kit.errors import InvalidRequest, NotFound, RateLimited, Refusal
from florin.kit.postgres.database import Database
from florin.ledger.refusals import (
    CardNotFound,
    CurrencyMismatch,
    PinIncorrect,
    PinLocked,
    PinRequired,
)
from florin.web.customer.shop import ShopFront, find_shop, list_slugs
from florin.web.pages import PAGE, PageResponse, PageView

ACTOR = "balance-page"
# A refusal that writes (a wrong PIN is counted on its card) takes as long as one that does not.
REFUSED_AFTER_S = 0.3
_TYPED_MAX = 200
_SLUG = re.compile(r"[a-z0-9-]{2,40}")
_PAGE = "customer/balance.html"
_WRONG_PIN = (PinRequired, PinIncorrect, PinLocked)


class BalanceNotShown(Exception):
    """The code or the PIN is wrong, or the PIN is missing. One answer for each."""


@get("/balance", **PAGE)
async def choose_shop(view: PageView, db: Database, shop: str = "") -> PageResponse:
    """Lead on to the page of a shop: of the only one, or of the one whose address was typed."""
    typed = shop.strip()[:_TYPED_MAX]
    slugs = await list_slugs(db, limit=2)
    if len(slugs) == 1 and not typed:
        return view.go(f"/s/{slugs[0]}/balance", lang=view.asked_language)
    if not typed:
        return await view.show_public(
            "customer/balance-shop.html", (), lambda: {"typed": "", "error": ""}
        )
    try:
        found = await find_shop(db, slug_of(typed))
    except NotFound:
        error = view.word("No shop has this address. Look at the message or the card once more.")
        return view.show("customer/balance-shop.html", status=404, typed=typed, error=error)
    return view.go(f"{found.home}/balance", lang=view.asked_language)


@get("/s/{slug:str}/balance", **PAGE)
async def balance_form(
    view: PageView, db: Database, imported_codes: ImportedCodes, slug: str
) -> PageResponse:
    shop = await find_shop(db, slug)
    own = not await imported_codes.accepts(shop.merchant)
    return await view.show_public(_PAGE, (shop, own), lambda: _of(shop, own=own))


@post("/s/{slug:str}/balance", status_code=200, **PAGE)
async def show_balance(
    view: PageView,
    db: Database,
    identity: IdentityServices,
    transactions: TransactionOperations,
    lookups: CardLookup,
    imported_codes: ImportedCodes,
    slug: str,
) -> PageResponse:
    begun = asyncio.get_running_loop().time()
    shop = await find_shop(db, slug)
    own = not await imported_codes.accepts(shop.merchant)
    form = await view.form()
    code, pin = form.text("code"), form.optional("pin")
    context = RequestContext(
        merchant=shop.merchant,
        actor=ACTOR,
        key=None,
        address=identity.client(view.request).address,
        # The limits of a shop's server that names its visitors: one of them locks no other one out.
        client_named=True,
    )
    view.in_zone(shop.timezone)
    said: dict[str, Any] = {"own": own, "code": code[:_TYPED_MAX], "pin": pin is not None}
    try:
        card = await find_balance(transactions, lookups, context, code, pin)
    except BalanceNotShown:
        await asyncio.sleep(begun + REFUSED_AFTER_S - asyncio.get_running_loop().time())
        return view.show(_PAGE, status=404, **_of(shop, error="refused", **said))
    except (CodeMalformed, InvalidRequest) as refused:
        error = "typo" if isinstance(refused, CodeMalformed) else "pin"
        return view.show(_PAGE, status=422, **_of(shop, error=error, **said))
    except RateLimited as refused:
        wait = refused.retry_after_s or 1
        answer = view.show(_PAGE, status=429, **_of(shop, error="wait", wait=wait, **said))
        answer.headers["retry-after"] = str(wait)
        return answer
    return view.show(_PAGE, **_of(shop, own=own, card=card))


async def find_balance(
    transactions: TransactionOperations,
    lookups: CardLookup,
    context: RequestContext,
    code: str,
    pin: str | None,
) -> Card:
    """The card of a code and its PIN. Raises BalanceNotShown, CodeMalformed, InvalidRequest for
    what is no PIN, RateLimited.
    """
    # A redemption that moves nothing: the ledger checks the PIN, and counts a wrong one, before it
    # looks at the currency, the state and the balance.
    attempt = RedemptionRequest(
        code=code, pin=pin, amount=1, currency="EUR", allow_remainder=True, simulate=True
    )
    try:
        await transactions.redeem(context, attempt)
    except CardNotFound:
        raise BalanceNotShown from None
    except _WRONG_PIN:
        await transactions.guesses.record_failure(context, code, times=guess_weight(code))
        raise BalanceNotShown from None
    except Refusal as refused:
        if refused.status != 402 and not isinstance(refused, CurrencyMismatch):  # noqa: PLR2004 -- of the card's state
            raise
    try:
        return await lookups.look_up(context, code)
    except CardNotFound:  # its code was replaced meanwhile
        raise BalanceNotShown from None


def slug_of(typed: str) -> str:
    """The slug in what was typed, alone or in an address of the shop's pages; empty if none is."""
    path = urlsplit(typed).path if "/" in typed else typed
    parts = [part for part in path.split("/") if part]
    if "s" in parts[:-1]:
        parts = parts[parts.index("s") + 1 :]
    slug = parts[0].lower() if parts else ""
    return slug if _SLUG.fullmatch(slug) else ""


def _of(
    shop: ShopFront,
    *,
    own: bool,
    card: Card | None = None,
    code: str = "",
    pin: bool = False,
    error: str = "",
    wait: int = 0,
) -> dict[str, Any]:
    """What the page shows. `own`: whether all codes of the shop are Florin's; `pin`: whether one
    was typed, which is not shown again; `wait`: seconds.
    """
    return {
        "shop": shop, "own": own, "card": card, "code": code, "pin": pin, "error": error,
        "wait": wait,
    }  # fmt: skip


handlers = [choose_shop, balance_form, show_balance]
