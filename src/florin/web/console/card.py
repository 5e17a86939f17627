"""Card: one card with its statement and holds, and every action on it."""

from typing import Any

from litestar import get, post

from florin.kit.errors import NotFound
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_ENTRIES = 25
_STATES = frozenset(("activate", "block", "unblock", "close", "reinstate"))
_SECRETS = {"rotate-code": "rotated", "reset-pin": "pin"}
_AMOUNTS = frozenset(("adjust", "load", "transfer", "refund"))


@get("/console/cards/{card:str}", **PAGE)
async def card_page(view: PageView, visitor: Visitor, card: str, after: str = "") -> PageResponse:
    return await _show_card(await open_frame(view, visitor), card, after=after)


@post("/console/cards/{card:str}/{action:str}", status_code=200, **PAGE)
async def act(view: PageView, visitor: Visitor, card: str, action: str) -> PageResponse:
    """Do one thing to a card. The API checks that this person may."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    try:
        if action in _SECRETS:
            made = await frame.api.post(f"/cards/{card}/{action}", key=form.text("key"))
            program = await frame.api.get(f"/programs/{made['program']}")
            return frame.show("console/code.html", card=made, program=program, why=_SECRETS[action])
        if action in _STATES:
            await frame.api.post(f"/cards/{card}/{action}", key=form.text("key"))
        elif action == "void":
            await frame.api.post(f"/holds/{form.text('hold')}/void", key=form.text("key"))
        elif action in _AMOUNTS:
            error = await _move_money(frame, card, action, form)
            if error:
                return await _show_card(frame, card, error=error, action=action, form=form)
        else:
            raise NotFound
    except ApiProblem as refused:
        if refused.status not in {402, 422}:
            raise
        return await _show_card(
            frame, card, error=refused.detail, action=action, form=form, status=refused.status
        )
    return view.go(f"/console/cards/{card}", done=action)


async def _move_money(frame: ConsoleFrame, card: str, action: str, form: PageForm) -> str:
    """Send the movement; return what is wrong with the form, or nothing."""
    found = await frame.api.get(f"/cards/{card}")
    typed = form.text("amount")
    amount = minor_units(typed, found["currency"]) if typed else None
    if not amount and not (action == "refund" and not typed):
        return frame.view.word("Type an amount, such as 25.00.")
    body: dict[str, Any] = {"amount": amount} if amount else {}
    if form.text("reference"):
        body["reference"] = form.text("reference")
    if action == "refund":
        await frame.api.post(
            "/refunds", body | {"redemption": form.text("redemption")}, key=form.text("key")
        )
    elif action == "transfer":
        await frame.api.post(
            "/transfers", body | {"from": card, "to": form.text("to")}, key=form.text("key")
        )
    elif action == "load":
        await frame.api.post("/loads", body | {"card": card}, key=form.text("key"))
    else:
        assert amount is not None
        signed = -amount if form.text("direction") == "take" else amount
        reason = form.text("reason")
        if not reason:
            return frame.view.word("Say why. The reason stands in the statement.")
        await frame.api.post(
            "/adjustments",
            body | {"card": card, "amount": signed, "reason": reason},
            key=form.text("key"),
        )
    return ""


async def _show_card(
    frame: ConsoleFrame,
    card: str,
    *,
    after: str = "",
    error: str = "",
    action: str = "",
    form: PageForm | None = None,
    status: int = 422,
) -> PageResponse:
    found = await frame.api.get(f"/cards/{card}")
    program = await frame.api.get(f"/programs/{found['program']}")
    entries = await frame.api.get(f"/cards/{card}/entries", limit=_ENTRIES, starting_after=after)
    holds: dict[str, Any] = {"data": []}
    if found["held"]:
        holds = await frame.api.get("/holds", card=card, state="open", limit=100)
    names = ("amount", "reason", "to", "reference", "direction", "redemption")
    return frame.show(
        "console/card.html",
        status=status if error else 200,
        card=found,
        program=program,
        entries=entries,
        holds=holds["data"],
        after=after,
        error=error,
        action=action,
        typed={name: form.text(name) for name in names} if form is not None else {},
        keys=frame.view.new_key,
    )


handlers = [card_page, act]
