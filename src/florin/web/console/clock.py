"""Clock: the time of a test merchant, and moving it ahead."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from litestar import get, post

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

# How far the buttons move the clock.
STEPS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
    "most": timedelta(days=5 * 365),
}


@get("/console/clock", **PAGE)
async def clock_page(view: PageView, visitor: Visitor, job: str = "") -> PageResponse:
    return await _show_clock(await open_frame(view, visitor), job=job)


@post("/console/clock", status_code=200, **PAGE)
async def move_clock(view: PageView, visitor: Visitor) -> PageResponse:
    """By a step, from what the clock shows now; or to an instant in the merchant's time zone."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    step = form.text("by")
    try:
        if step:
            if frame.clock is None or step not in STEPS:
                raise NotFound
            to = datetime.fromisoformat(frame.clock["now"]) + STEPS[step]
        else:
            local = datetime.fromisoformat(f"{form.text('day')}T{form.text('time') or '00:00'}")
            to = local.replace(tzinfo=ZoneInfo(view.formats.zone))
        job = await frame.api.post(
            "/test-clock/advance",
            {"to": to.isoformat()},
            key=form.text("key") if not step else None,
        )
    except ValueError:
        error = view.word("Type a day such as 2026-10-31.")
        return await _show_clock(frame, error=error)
    except ApiProblem as refused:
        if refused.status not in {409, 422, 429}:
            raise
        return await _show_clock(frame, error=refused.detail)
    return view.go("/console/clock", job=job["id"])


async def _show_clock(frame: ConsoleFrame, *, job: str = "", error: str = "") -> PageResponse:
    if frame.clock is None:
        raise NotFound  # only a test merchant has one
    shown: dict[str, Any] | None = None
    if job:
        ids.require_id("job", job)  # nothing else may become part of a path
    last = frame.clock["job"] or job
    if last and frame.may("cards:read"):
        shown = await frame.api.get(f"/jobs/{last}")
    return frame.show(
        "console/clock.html",
        status=422 if error else 200,
        job=shown,
        error=error,
        key=frame.view.new_key(),
    )


handlers = [clock_page, move_clock]
