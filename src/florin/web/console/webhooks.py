"""Webhooks: endpoints, what was delivered to them and how they answered, and their secrets."""

import re
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

_PAGE = 15  # deliveries of a page, each with an excerpt of its last answer
_SHOWN_ERRORS = frozenset((403, 409, 422, 429))


@get("/console/webhooks", **PAGE)
async def webhooks_page(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    return await _show_endpoints(await open_frame(view, visitor), after=after)


@post("/console/webhooks", status_code=200, **PAGE)
async def create_endpoint(view: PageView, visitor: Visitor) -> PageResponse:
    """The secret is in this answer alone, and in its repetition within a day."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    try:
        made = await frame.api.post("/webhook-endpoints", _settings(form), key=form.text("key"))
    except ApiProblem as refused:
        return await _show_endpoints(frame, errors=_blamed(refused), form=form)
    return await _show_endpoints(frame, made=made)


@get("/console/webhooks/{endpoint:str}", **PAGE)
async def endpoint_page(
    view: PageView,
    visitor: Visitor,
    endpoint: str,
    delivery_state: Annotated[str, Parameter(query="state")] = "",
    after: str = "",
) -> PageResponse:
    frame = await open_frame(view, visitor)
    return await _show_endpoint(frame, endpoint, only=delivery_state, after=after)


@post("/console/webhooks/{endpoint:str}/{action:str}", status_code=200, **PAGE)
async def change_endpoint(
    view: PageView, visitor: Visitor, endpoint: str, action: str
) -> PageResponse:
    """Do one thing to an endpoint. The API checks that this person may."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    path = f"/webhook-endpoints/{endpoint}"
    try:
        if action == "rotate-secret":  # the new secret is in this answer alone
            made = await frame.api.post(f"{path}/rotate-secret")
            return await _show_endpoint(frame, endpoint, made=made)
        if action == "replay":
            await frame.api.post(f"{path}/replay", {"since": _instant(view, form)})
        elif action == "change":
            await frame.api.patch(path, _settings(form))
        elif action in {"enable", "disable"}:
            await frame.api.patch(path, {"state": f"{action}d"})
        elif action == "delete":
            await frame.api.delete(path)
            return view.go("/console/webhooks", done="deleted")
        elif action == "resend":
            delivery = form.text("delivery")
            ids.require_id("whd", delivery)  # nothing else may become part of a path
            await frame.api.post(f"/webhook-deliveries/{delivery}/resend")
        else:
            raise NotFound
    except ValueError:
        errors = {"day": view.word("Type a day such as 2026-10-31.")}
        return await _show_endpoint(frame, endpoint, errors=errors, form=form)
    except ApiProblem as refused:
        return await _show_endpoint(frame, endpoint, errors=_blamed(refused), form=form)
    return view.go(f"/console/webhooks/{endpoint}", done=action)


def _settings(form: PageForm) -> dict[str, Any]:
    events = [each for each in re.split(r"[\s,;]+", form.text("events")) if each]
    return {
        "url": form.text("url"),
        "events": events or ["*"],
        "description": form.optional("description"),
    }


def _instant(view: PageView, form: PageForm) -> str:
    """Raises ValueError."""
    local = datetime.fromisoformat(f"{form.text('day')}T{form.text('time') or '00:00'}")
    return local.replace(tzinfo=ZoneInfo(view.formats.zone)).isoformat()


def _blamed(refused: ApiProblem) -> dict[str, str]:
    """The reasons by field; a missing right or anything unexpected is an error page."""
    if refused.status not in _SHOWN_ERRORS or refused.code == "forbidden":
        raise refused
    return {
        name.partition("[")[0]: why
        for name, why in (refused.details() or {"": refused.detail}).items()
    }


async def _show_endpoints(
    frame: ConsoleFrame,
    *,
    errors: dict[str, str] | None = None,
    form: PageForm | None = None,
    made: dict[str, Any] | None = None,
    after: str = "",
) -> PageResponse:
    page = await frame.api.get("/webhook-endpoints", limit=50, starting_after=after)
    names = ("url", "events", "description")
    return frame.show(
        "console/webhooks.html",
        status=422 if errors else 200,
        page=page,
        errors=errors or {},
        typed={name: form.text(name) for name in names} if form else {},
        made=made,
        after=after,
        key=frame.view.new_key(),
    )


async def _show_endpoint(
    frame: ConsoleFrame,
    endpoint: str,
    *,
    only: str = "",
    after: str = "",
    errors: dict[str, str] | None = None,
    form: PageForm | None = None,
    made: dict[str, Any] | None = None,
) -> PageResponse:
    path = f"/webhook-endpoints/{endpoint}"
    found = await frame.api.get(path)
    page = await frame.api.get(f"{path}/deliveries", limit=_PAGE, state=only, starting_after=after)
    names = ("url", "events", "description", "day", "time")
    return frame.show(
        "console/webhook.html",
        status=422 if errors else 200,
        endpoint=found,
        page=page,
        only=only,
        after=after,
        errors=errors or {},
        typed={name: form.text(name) for name in names if form.ticked(name)} if form else {},
        made=made,
    )


handlers = [webhooks_page, create_endpoint, endpoint_page, change_endpoint]
