"""Selling: a card at the counter: printed, by e-mail, or one of plastic that is activated.

The cashier takes the money in the cash register first; the card is worth money from the answer on.
The form has its idempotency key: a second press makes no second card.
"""

from typing import Any

from litestar import get, post

from florin.cards.state_changes import has_activated
from florin.kit.postgres.database import Database
from florin.web.formats import minor_units
from florin.web.internal_api import ApiClient, ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.till.frame import UNKNOWN, read_me, show_unknown
from florin.web.visitors import Visitor

_TYPED = ("program", "amount", "how", "code", "email", "name")
_SHOWN_ERRORS = frozenset((402, 404, 422, 429))


@get("/till/sell", **PAGE)
async def sell_page(view: PageView, visitor: Visitor) -> PageResponse:
    return await _show_sell(view, view.api(visitor), typed={"how": "print"}, errors={})


@post("/till/sell", status_code=200, **PAGE)
async def sell(view: PageView, visitor: Visitor, db: Database) -> PageResponse:
    """Issue a card and show its code once, or activate the one whose code was scanned."""
    api = view.api(visitor)
    form = await view.form()
    typed = {name: form.text(name) for name in _TYPED}
    key = form.text("key")
    try:
        if typed["how"] == "plastic":
            return await _activate(view, visitor, db, typed["code"], key)
        program = await api.get(f"/programs/{_id(typed['program'])}")
        amount = minor_units(typed["amount"], program["currency"])
        if not amount:
            errors = {"sum": view.word("Type an amount, such as 25.00.")}
            return await _show_sell(view, api, typed=typed, errors=errors, key=key)
        card = await api.post("/cards", _new_card(typed, program["id"], amount), key=key)
    except ApiProblem as refused:
        if refused.code in UNKNOWN:
            return await show_unknown(view, api, form, "/till/sell")
        if refused.status not in _SHOWN_ERRORS:
            raise
        errors = _errors(refused, typed["how"])
        return await _show_sell(view, api, typed=typed, errors=errors, status=refused.status)
    return await _show_sold(view, api, card, program, how=typed["how"])


def _new_card(typed: dict[str, str], program: str, amount: int) -> dict[str, Any]:
    body: dict[str, Any] = {"program": program, "amount": amount}
    if typed["how"] == "email":
        recipient = {name: typed[name] for name in ("name", "email") if typed[name]}
        body |= {"recipient": recipient, "deliver": {"channel": "email"}}
    return body


async def _activate(
    view: PageView, visitor: Visitor, db: Database, code: str, key: str
) -> PageResponse:
    """A card that another sale activated is no success. The card's state cannot say which sale it
    was: the browser repeats the form to show its page, and so does a reload.
    """
    api = view.api(visitor)
    found = await api.post("/cards/lookup", {"code": code})
    card = await api.post(f"/cards/{found['id']}/activate", key=key)
    sold = await has_activated(db, visitor.caller.merchant, key)
    program = await api.get(f"/programs/{card['program']}")
    return await _show_sold(view, api, card, program, how="plastic" if sold else "before")


def _errors(refused: ApiProblem, how: str) -> dict[str, str]:
    """The reasons by the field of the form."""
    fields = {"amount": "sum", "recipient.email": "email", "recipient.name": "name"}
    fallback = "code" if how == "plastic" else "sum"
    found = refused.details() or {fallback: refused.detail}
    known = {"sum", "program", "email", "name", "code"}
    named = {fields.get(name, name): why for name, why in found.items()}
    return {name if name in known else fallback: why for name, why in named.items()}


def _id(program: str) -> str:
    """An id and nothing that could be another path."""
    return "".join(each for each in program if each.isalnum() or each == "_")


async def _show_sold(
    view: PageView, api: ApiClient, card: dict[str, Any], program: dict[str, Any], *, how: str
) -> PageResponse:
    me = await read_me(view, api)
    return view.show("till/sold.html", me=me, card=card, program=program, how=how)


async def _show_sell(
    view: PageView,
    api: ApiClient,
    *,
    typed: dict[str, str],
    errors: dict[str, str],
    key: str = "",
    status: int = 422,
) -> PageResponse:
    me = await read_me(view, api)
    programs = await api.get("/programs", limit=100)
    return view.show(
        "till/sell.html",
        status=status if errors else 200,
        me=me,
        programs=[each for each in programs["data"] if not each["imported_codes"]],
        typed=typed,
        errors=errors,
        key=key or view.new_key(),
    )


handlers = [sell_page, sell]
