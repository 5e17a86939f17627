"""Gateway report: what gateways collected, kept and paid out, and money without a counterpart."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from litestar import get

from florin.web.console.frame import open_frame
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor


@get("/console/reports/gateway", **PAGE)
async def gateway_report_page(
    view: PageView, visitor: Visitor, first: str = "", last: str = ""
) -> PageResponse:
    """From the first day to the end of the last one, in the merchant's time zone."""
    frame = await open_frame(view, visitor)
    error, since, until = "", "", ""
    try:
        if first:
            since = _midnight(view, date.fromisoformat(first))
        if last:
            until = _midnight(view, date.fromisoformat(last) + timedelta(days=1))
    except (ValueError, OverflowError):
        error = view.word("Type a day such as 2026-10-31.")
    asked = {} if error else {"from": since, "to": until}
    return frame.show(
        "console/gateway-report.html",
        status=422 if error else 200,
        report=await frame.api.get("/reports/gateway", **asked),
        error=error,
        first=first,
        last=last,
    )


def _midnight(view: PageView, day: date) -> str:
    return datetime.combine(day, time(), ZoneInfo(view.formats.zone)).isoformat()


handlers = [gateway_report_page]
