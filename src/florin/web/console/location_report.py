"""Location report: what each till or shop took, gave back and sold in a period, and its CSV."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from litestar import get

from florin.reports.locations import (
    CASHED_OUT,
    LOADED,
    REDEEMED,
    REFUNDED,
    SOLD,
    LocationActivity,
    LocationReports,
)
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.console.reports import attach_csv
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_YEARS = (1970, 9998)  # instants beyond cannot be written in every zone
# The columns: each with the kinds of movements that it sums.
COLUMNS: dict[str, tuple[str, ...]] = {
    "redeemed": REDEEMED,
    "refunded": REFUNDED,
    "sold": SOLD,
    "loaded": LOADED,
    "cashed_out": CASHED_OUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _AskedPeriod:
    """Days of the merchant's time zone, both included, as they were typed. Default: this month."""

    first: str
    last: str
    begins: datetime
    ends: datetime


@get("/console/reports/locations", **PAGE)
async def location_report_page(
    view: PageView,
    visitor: Visitor,
    location_reports: LocationReports,
    first: str = "",
    last: str = "",
) -> PageResponse:
    frame = await open_frame(view, visitor)
    error, locations = "", list[LocationActivity]()
    try:
        period = _read_period(view, await _today(frame), first, last)
        locations = await _read_locations(frame, visitor, location_reports, period)
        first, last = period.first, period.last
    except ValueError:
        error = view.word("Type days such as 2026-10-31, the first not after the last.")
    return frame.show(
        "console/location-report.html",
        status=422 if error else 200,
        locations=locations,
        total=_total(locations),
        columns=COLUMNS,
        error=error,
        first=first,
        last=last,
    )


@get("/console/reports/locations.csv", **PAGE)
async def location_report_csv(
    view: PageView,
    visitor: Visitor,
    location_reports: LocationReports,
    first: str = "",
    last: str = "",
) -> PageResponse:
    """A line for each location, in minor units; the last one names no location."""
    frame = await open_frame(view, visitor)
    try:
        period = _read_period(view, await _today(frame), first, last)
    except ValueError:
        return view.go("/console/reports/locations", first=first, last=last)  # says what is wrong
    locations = await _read_locations(frame, visitor, location_reports, period)
    heads = ("location", "first", "last", "currency", "redemptions", *COLUMNS, "earned")
    lines = [
        (
            each.location,
            period.first,
            period.last,
            frame.currency,
            each.entries(*REDEEMED),
            *(each.change(*kinds) for kinds in COLUMNS.values()),
            each.earned,
        )
        for each in locations
    ]
    return attach_csv(f"locations-{period.first}-{period.last}.csv", [heads, *lines])


async def _today(frame: ConsoleFrame) -> date:
    """The day of the merchant's clock in its time zone."""
    now = datetime.now(ZoneInfo(frame.view.formats.zone))
    if frame.clock is not None:
        now = datetime.fromisoformat(frame.clock["now"]).astimezone(now.tzinfo)
    return now.date()


def _read_period(view: PageView, today: date, first: str, last: str) -> _AskedPeriod:
    """Raises ValueError for what is no day, or no day after the first one."""
    begin = date.fromisoformat(first) if first else today.replace(day=1)
    end = date.fromisoformat(last) if last else max(today, begin)
    if begin > end or not _YEARS[0] <= begin.year <= end.year <= _YEARS[1]:
        raise ValueError(first)
    zone = ZoneInfo(view.formats.zone)
    return _AskedPeriod(
        first=begin.isoformat(),
        last=end.isoformat(),
        begins=datetime.combine(begin, time(), zone),
        ends=datetime.combine(end + timedelta(days=1), time(), zone),
    )


async def _read_locations(
    frame: ConsoleFrame, visitor: Visitor, reports: LocationReports, period: _AskedPeriod
) -> list[LocationActivity]:
    return await reports.between(
        visitor.caller.merchant, frame.currency, period.begins, period.ends
    )


def _total(locations: list[LocationActivity]) -> dict[str, int]:
    sums = {name: sum(each.change(*kinds) for each in locations) for name, kinds in COLUMNS.items()}
    return {
        **sums,
        "redemptions": sum(each.entries(*REDEEMED) for each in locations),
        "earned": sum(each.earned for each in locations),
    }


handlers = [location_report_page, location_report_csv]
