"""Undoing: give a redemption at the counter back to its card, all of it or a part."""

from typing import Any

from litestar import get, post

from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.internal_api import ApiClient, ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.till.frame import UNKNOWN, read_me, show_unknown
from florin.web.visitors import Visitor


@get("/till/undo/{redemption:str}", **PAGE)
async def undo_page(view: PageView, visitor: Visitor, redemption: str) -> PageResponse:
    return await _show_undo(view, view.api(visitor), redemption)


@post("/till/undo/{redemption:str}", status_code=200, **PAGE)
async def undo(view: PageView, visitor: Visitor, redemption: str) -> PageResponse:
    form = await view.form()
    api = view.api(visitor)
    typed = form.text("amount")
    body: dict[str, Any] = {"redemption": redemption}
    if typed or form.text("how") == "part":  # one who types an amount may leave "All of it" chosen
        amount = minor_units(typed, form.text("currency"))
        if not amount:
            return await _show_undo(view, api, redemption, form=form, error="amount")
        body["amount"] = amount
    try:
        await api.post("/refunds", body, key=form.text("key"))
    except ApiProblem as refused:
        if refused.code in UNKNOWN:
            return await show_unknown(view, api, form, f"/till/undo/{redemption}")
        if refused.status not in {402, 422}:
            raise
        return await _show_undo(
            view, api, redemption, form=form, error=refused.code, status=refused.status
        )
    return view.go(f"/till/r/{redemption}", done="undone")


async def _show_undo(
    view: PageView,
    api: ApiClient,
    redemption: str,
    *,
    form: PageForm | None = None,
    error: str = "",
    status: int = 422,
) -> PageResponse:
    typed = form.text("amount") if form is not None else ""
    me = await read_me(view, api)
    found = await api.get(f"/redemptions/{redemption}")
    card = await api.get(f"/cards/{found['card']}")
    return view.show(
        "till/undo.html",
        status=status if error else 200,
        me=me,
        r=found,
        card=card,
        typed=typed,
        is_part=bool(typed) or (form is not None and form.text("how") == "part"),
        error=error,
        key=view.new_key(),
    )


handlers = [undo_page, undo]
