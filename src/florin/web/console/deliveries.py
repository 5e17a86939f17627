"""Deliveries: what was or will be sent to people, and what can be done about each of them."""

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from litestar import get, post
from litestar.params import Parameter

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.forms import PageForm
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_PAGE = 25
_SHOWN_ERRORS = frozenset((402, 409, 422))


@get("/console/deliveries", **PAGE)
async def list_deliveries(
    view: PageView,
    visitor: Visitor,
    card: str = "",
    delivery_state: Annotated[str, Parameter(query="state")] = "",
    after: str = "",
) -> PageResponse:
    frame = await open_frame(view, visitor)
    page: dict[str, Any] = {"data": [], "has_more": False}
    searched = card.strip()
    if not searched or ids.parse_id("crd", searched) is not None:
        page = await frame.api.get(
            "/deliveries", limit=_PAGE, card=searched, state=delivery_state, starting_after=after
        )
    return frame.show(
        "console/deliveries.html", page=page, card=card, chosen_state=delivery_state, after=after
    )


@get("/console/deliveries/{delivery:str}", **PAGE)
async def delivery_page(view: PageView, visitor: Visitor, delivery: str) -> PageResponse:
    return await _show_delivery(await open_frame(view, visitor), delivery)


@post("/console/deliveries/{delivery:str}/{action:str}", status_code=200, **PAGE)
async def change_delivery(
    view: PageView, visitor: Visitor, delivery: str, action: str
) -> PageResponse:
    """Do one thing to a delivery. The API checks that this person may."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    try:
        if action == "resend":
            await frame.api.post(f"/deliveries/{delivery}/resend")
        elif action == "resend-new-code":
            await frame.api.post(f"/deliveries/{delivery}/resend", {"rotate_code": True})
        elif action == "cancel":
            await frame.api.post(f"/deliveries/{delivery}/cancel")
        elif action == "change":
            await frame.api.patch(f"/deliveries/{delivery}", _change(view, form))
        else:
            raise NotFound
    except ValueError:
        error = view.word("Type a day such as 2026-10-31.")
        return await _show_delivery(frame, delivery, error=error, form=form)
    except ApiProblem as refused:
        if refused.status not in _SHOWN_ERRORS:
            raise
        return await _show_delivery(
            frame, delivery, error=refused.detail, form=form, status=refused.status
        )
    return view.go(f"/console/deliveries/{delivery}", done=action)


def _change(view: PageView, form: PageForm) -> dict[str, str]:
    """The body of the change. Raises ValueError for a day or a time that is none."""
    body: dict[str, str] = {}
    if form.text("address"):
        body["address"] = form.text("address")
    if form.text("day"):
        local = datetime.fromisoformat(f"{form.text('day')}T{form.text('time') or '09:00'}")
        body["due_at"] = local.replace(tzinfo=ZoneInfo(view.formats.zone)).isoformat()
    return body


async def _show_delivery(
    frame: ConsoleFrame,
    delivery: str,
    *,
    error: str = "",
    form: PageForm | None = None,
    status: int = 422,
) -> PageResponse:
    found = await frame.api.get(f"/deliveries/{delivery}")
    card = None
    if found["card"] and frame.may("cards:read"):
        card = await frame.api.get(f"/cards/{found['card']}")
    return frame.show(
        "console/delivery.html",
        status=status if error else 200,
        delivery=found,
        card=card,
        error=error,
        typed={name: form.text(name) for name in ("address", "day", "time")} if form else {},
    )


handlers = [list_deliveries, delivery_page, change_delivery]
