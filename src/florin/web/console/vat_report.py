"""VAT report: what is taxable in a period, by month and rate, and its CSV."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from litestar import get

from florin.reports.vat import COLUMNS
from florin.web.console.frame import open_frame
from florin.web.console.reports import attach_csv
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor


@get("/console/reports/vat", **PAGE)
async def vat_report_page(
    view: PageView, visitor: Visitor, first: str = "", last: str = ""
) -> PageResponse:
    """Days of the merchant's time zone, both included. Default: since the year began."""
    frame = await open_frame(view, visitor)
    now = datetime.now(ZoneInfo(view.formats.zone))
    if frame.clock is not None:
        now = datetime.fromisoformat(frame.clock["now"]).astimezone(now.tzinfo)
    first = first or now.date().replace(month=1, day=1).isoformat()
    error, report = "", None
    try:
        report = await frame.api.get("/reports/vat", **_period(first, last))
    except (ValueError, ApiProblem) as refused:
        if isinstance(refused, ApiProblem) and refused.status != 422:  # noqa: PLR2004 -- invalid
            raise
        error = view.word("Type days such as 2026-10-31, the first not after the last.")
    return frame.show(
        "console/vat-report.html",
        status=422 if error else 200,
        lines=report["lines"] if report else [],
        error=error,
        first=first,
        last=last,
    )


@get("/console/reports/vat.csv", **PAGE)
async def vat_report_csv(
    view: PageView, visitor: Visitor, first: str = "", last: str = ""
) -> PageResponse:
    """The lines of the page, in minor units: exact for every program that reads it."""
    frame = await open_frame(view, visitor)
    try:
        report = await frame.api.get("/reports/vat", **_period(first, last))
    except (ValueError, ApiProblem):
        return view.go("/console/reports/vat", first=first, last=last)  # says what is wrong
    lines = [[line[name] for name in COLUMNS] for line in report["lines"]]
    return attach_csv(f"vat-{first}-{last or 'now'}.csv", [COLUMNS, *lines])


def _period(first: str, last: str) -> dict[str, str]:
    """The days of the API. Raises ValueError."""
    days = {
        name: date.fromisoformat(typed).isoformat()
        for name, typed in (("from", first), ("to", last))
        if typed
    }
    if first and last and days["from"] > days["to"]:
        raise ValueError(first)
    return days


handlers = [vat_report_page, vat_report_csv]
