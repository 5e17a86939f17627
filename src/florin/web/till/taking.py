"""Taking: take money from a card at the counter, and see the shift.

The form of each change has its idempotency key. When the outcome is not known, the page keeps the
form and sends it again with the same key: the answer is then that of the first request, whether it
had happened or not.
"""

from typing import Any

from litestar import get, post

from florin.cards.transactions.shift import SHOWN_MAX, read_shift, read_steps
from florin.kit.postgres.database import Database
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.internal_api import ApiClient, ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.till.frame import TYPED, UNKNOWN, read_me, show_unknown
from florin.web.till.location import read_location
from florin.web.visitors import Visitor

_RECENT = 5


@get("/till", **PAGE)
async def till_page(view: PageView, visitor: Visitor, db: Database) -> PageResponse:
    return await _show_till(view, visitor, db, typed={})


@get(["/till/card", "/till/take"], **PAGE)
async def begin_anew(view: PageView, visitor: Visitor) -> PageResponse:
    """A bookmark or a restored tab of a page that was sent a code: no address contains it."""
    del visitor  # signed in, as for the page that it leads to
    return view.go("/till")


@post("/till/card", status_code=200, **PAGE)
async def find_card(view: PageView, visitor: Visitor, db: Database) -> PageResponse:
    """Look the card up and ask how much to take. A POST: its code is in no URL."""
    form = await view.form()
    # In the form, not in the cookie alone: a repetition is the same request.
    typed = {name: form.text(name) for name in TYPED} | {"location": read_location(view)}
    api = view.api(visitor)
    try:
        card = await api.post("/cards/lookup", {"code": typed["code"]})
    except ApiProblem as refused:
        return await _show_till(view, visitor, db, typed=typed, refused=refused)
    due = minor_units(typed["due"], card["currency"]) if typed["due"] else None
    return await _show_amount(view, api, card=card, typed=typed, due=due)


@post("/till/take", status_code=200, **PAGE)
async def take(view: PageView, visitor: Visitor) -> PageResponse:
    """Redeem what was asked for, or what the card has if that is less."""
    form = await view.form()
    api = view.api(visitor)
    currency = form.text("currency")
    asked = form.whole("has") if form.text("take") == "all" else None
    asked = asked or minor_units(form.text("amount"), currency)
    typed = _typed(form)
    if not asked:
        card = await api.post("/cards/lookup", {"code": typed["code"]})
        return await _show_amount(
            view, api, card=card, typed=typed, due=None, error="amount", key=form.text("key")
        )
    body: dict[str, Any] = {
        "code": typed["code"],
        "amount": asked,
        "currency": currency,
        "allow_remainder": True,
    }
    given = ("pin", "reference", "location")
    body |= {name: form.text(name) for name in given if form.text(name)}
    try:
        made = await api.post("/redemptions", body, key=form.text("key"))
    except ApiProblem as refused:
        return await _show_refusal(view, api, form, refused, asked=asked, currency=currency)
    whole = minor_units(form.text("amount"), currency) or asked
    return view.go(f"/till/r/{made['id']}", asked=max(whole, made["amount"]), done="taken")


@get("/till/r/{redemption:str}", **PAGE)
async def taken_page(
    view: PageView, visitor: Visitor, redemption: str, asked: str = ""
) -> PageResponse:
    api = view.api(visitor)
    me = await read_me(view, api)
    found = await api.get(f"/redemptions/{redemption}")
    card = await api.get(f"/cards/{found['card']}")
    wanted = int(asked) if asked.isdecimal() and len(asked) < 14 else found["amount"]  # noqa: PLR2004 -- more than any amount
    return view.show(
        "till/taken.html",
        me=me,
        r=found,
        card=card,
        rest=max(0, wanted - found["amount"]),
        asked=max(wanted, found["amount"]),
    )


@get("/till/shift", **PAGE)
async def shift_page(view: PageView, visitor: Visitor, db: Database) -> PageResponse:
    api = view.api(visitor)
    me = await read_me(view, api)
    caller = visitor.caller
    shift = await read_shift(db, caller.merchant, caller.actor, limit=SHOWN_MAX)
    return view.show("till/shift.html", me=me, shift=shift)


async def _show_till(
    view: PageView,
    visitor: Visitor,
    db: Database,
    *,
    typed: dict[str, str],
    refused: ApiProblem | None = None,
) -> PageResponse:
    api = view.api(visitor)
    me = await read_me(view, api)
    caller = visitor.caller
    steps = await read_steps(db, caller.merchant, caller.actor, limit=_RECENT)
    return view.show(
        "till/till.html",
        status=refused.status if refused is not None else 200,
        camera=True,
        me=me,
        steps=steps,
        typed=typed,
        location=read_location(view),
        error=refused.code if refused is not None else "",
        detail=refused.detail if refused is not None else "",
    )


async def _show_amount(
    view: PageView,
    api: ApiClient,
    *,
    card: dict[str, Any],
    typed: dict[str, str],
    due: int | None,
    error: str = "",
    key: str = "",
) -> PageResponse:
    me = await read_me(view, api)
    program = await api.get(f"/programs/{card['program']}")
    return view.show(
        "till/amount.html",
        status=422 if error else 200,
        me=me,
        card=card,
        program=program,
        typed=typed,
        due=due,
        error=error,
        key=key or view.new_key(),
    )


async def _show_refusal(
    view: PageView,
    api: ApiClient,
    form: PageForm,
    refused: ApiProblem,
    *,
    asked: int,
    currency: str,
) -> PageResponse:
    if refused.code in UNKNOWN:
        return await show_unknown(view, api, form, "/till/take")
    if refused.status not in {402, 404, 422, 429}:
        raise refused
    me = await read_me(view, api)
    return view.show(
        "till/refused.html",
        status=refused.status,
        me=me,
        code=refused.code,
        detail=refused.detail,
        available=refused.problem.get("available"),
        asked=asked,
        currency=currency,
        typed=_typed(form),
    )


def _typed(form: PageForm) -> dict[str, str]:
    """What was typed, as the form that looks a card up names it."""
    return {name: form.text(name) for name in TYPED} | {"due": form.text("amount")}


handlers = [till_page, begin_anew, find_card, take, taken_page, shift_page]
