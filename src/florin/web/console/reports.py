"""Reports: the roll-forward of what is owed, the liability at an instant, and the proof."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Response, get

from florin.kit.csv_text import Cell, csv_rows
from florin.reports.activity import ActivityReports
from florin.reports.cohorts import Cohort, CohortReports
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_MONTHS = 13
# The columns of the roll-forward: each with the kinds of movements that it sums. Every kind that
# moves a card's money is here, so that a line adds up.
COLUMNS: dict[str, tuple[str, ...]] = {
    "sold": ("issue", "activate"),
    "loaded": ("load",),
    "redeemed": ("redeem",),
    "refunded": ("refund",),
    "taken_back": ("clawback", "giveback", "dispute", "cash_out"),
    "adjusted": ("adjust",),
    "expired": ("expire", "reinstate"),
}
EXPIRED = COLUMNS["expired"]


@get("/console/reports", **PAGE)
async def reports_page(
    view: PageView,
    visitor: Visitor,
    activity: ActivityReports,
    cohorts: CohortReports,
    day: str = "",
    time: str = "",
) -> PageResponse:
    frame = await open_frame(view, visitor)
    merchant = visitor.caller.merchant
    months = await activity.months(merchant, frame.currency, _MONTHS)
    asked, years, error = None, list[Cohort](), ""
    if day:
        try:
            asked = await _balances(frame, day, time)
            at = datetime.fromisoformat(asked["as_of"])
            years = await cohorts.at(merchant, frame.currency, at)
        except ValueError:
            error = view.word("Type a day such as 2026-10-31.")
        except ApiProblem as refused:
            if refused.status not in {409, 422}:
                raise
            error = refused.detail
    return frame.show(
        "console/reports.html",
        status=422 if error else 200,
        months=months[::-1],
        columns=COLUMNS,
        asked=asked,
        years=years,
        error=error,
        day=day,
        time=time,
    )


async def _balances(frame: ConsoleFrame, day: str, time: str) -> dict[str, Any]:
    """The balances at the end of a second of the merchant's time zone. Raises ValueError."""
    at = datetime.fromisoformat(f"{day}T{time or '23:59:59'}")
    instant = at.replace(tzinfo=ZoneInfo(frame.view.formats.zone)).isoformat()
    return await frame.api.get("/ledger/balances", as_of=instant)


@get("/console/reports/liability.csv", **PAGE)
async def liability_csv(
    view: PageView, visitor: Visitor, cohorts: CohortReports, day: str = "", time: str = ""
) -> PageResponse:
    """What was owed at an instant by year of issue, newest first, in minor units."""
    frame = await open_frame(view, visitor)
    try:
        asked = await _balances(frame, day, time)
    except ValueError:
        return view.go("/console/reports", day=day or "?", time=time)  # says what is wrong
    at = datetime.fromisoformat(asked["as_of"])
    years = await cohorts.at(visitor.caller.merchant, frame.currency, at)
    heads = ("as_of", "year", "currency", "cards", "owed")
    lines = [(asked["as_of"], each.year, frame.currency, each.cards, each.owed) for each in years]
    return attach_csv("liability.csv", [heads, *lines])


@get("/console/reports/roll-forward.csv", **PAGE)
async def roll_forward_csv(
    view: PageView, visitor: Visitor, activity: ActivityReports
) -> PageResponse:
    """By month, oldest first, in minor units: exact for every program that reads it."""
    frame = await open_frame(view, visitor)
    merchant = visitor.caller.merchant
    months = await activity.months(merchant, frame.currency, _MONTHS)
    heads = ("month", "currency", "opening", *COLUMNS, "closing")
    lines = [
        (
            f"{month.first:%Y-%m}",
            frame.currency,
            month.opening,
            *(month.change(*kinds) for kinds in COLUMNS.values()),
            month.closing,
        )
        for month in months
    ]
    return attach_csv("roll-forward.csv", [heads, *lines])


def attach_csv(name: str, rows: Iterable[Iterable[Cell]]) -> PageResponse:
    """A file to download for a spreadsheet."""
    return Response(
        csv_rows(rows),
        media_type="text/csv",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@get("/console/reports/proof", **PAGE)
async def proof_page(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    return frame.show("console/proof.html", proof=await frame.api.get("/ledger/proof"))


handlers = [reports_page, liability_csv, roll_forward_csv, proof_page]
