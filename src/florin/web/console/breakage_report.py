"""Breakage report: what expired by month, and what became of the cards of each year of issue."""

from litestar import get

from florin.reports.activity import ActivityReports
from florin.reports.cohorts import EXPIRED, SOLD, SPENT, CohortReports
from florin.web.console.frame import open_frame
from florin.web.console.reports import attach_csv
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_MONTHS = 13


@get("/console/reports/breakage", **PAGE)
async def breakage_page(
    view: PageView, visitor: Visitor, activity: ActivityReports, cohorts: CohortReports
) -> PageResponse:
    frame = await open_frame(view, visitor)
    merchant = visitor.caller.merchant
    months = await activity.months(merchant, frame.currency, _MONTHS)
    years = await cohorts.at(merchant, frame.currency, None)
    return frame.show(
        "console/breakage-report.html",
        months=months[::-1],
        years=years,
        sold=SOLD,
        spent=SPENT,
        expired=EXPIRED,
    )


@get("/console/reports/breakage.csv", **PAGE)
async def breakage_csv(view: PageView, visitor: Visitor, activity: ActivityReports) -> PageResponse:
    """By month, oldest first, in minor units."""
    frame = await open_frame(view, visitor)
    months = await activity.months(visitor.caller.merchant, frame.currency, _MONTHS)
    heads = ("month", "currency", "expired", "reinstated", "breakage")
    lines = [
        (
            f"{month.first:%Y-%m}",
            frame.currency,
            -month.change("expire"),
            month.change("reinstate"),
            -month.change(*EXPIRED),
        )
        for month in months
    ]
    return attach_csv("breakage.csv", [heads, *lines])


@get("/console/reports/years.csv", **PAGE)
async def years_csv(view: PageView, visitor: Visitor, cohorts: CohortReports) -> PageResponse:
    """By year of issue, newest first, in minor units."""
    frame = await open_frame(view, visitor)
    years = await cohorts.at(visitor.caller.merchant, frame.currency, None)
    heads = ("year", "currency", "cards", "sold", "spent", "expired", "owed")
    lines = [
        (
            each.year,
            frame.currency,
            each.cards,
            each.change(*SOLD),
            -each.change(*SPENT),
            -each.change(*EXPIRED),
            each.owed,
        )
        for each in years
    ]
    return attach_csv("years.csv", [heads, *lines])


handlers = [breakage_page, breakage_csv, years_csv]
