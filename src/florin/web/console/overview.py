"""Overview: what was sold and redeemed, what is owed, and the cards by state."""

from litestar import get

from florin.reports.activity import ActivityReports
from florin.web.console.frame import open_frame
from florin.web.console.reports import COLUMNS
from florin.web.drawing.charts import draw_bars
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_MONTHS = 12


@get("/console", **PAGE)
async def overview(view: PageView, visitor: Visitor, activity: ActivityReports) -> PageResponse:
    if "reports:read" not in visitor.caller.scopes:  # a cashier works at the till
        return view.go("/till")
    frame = await open_frame(view, visitor)
    merchant = visitor.caller.merchant
    months = await activity.months(merchant, frame.currency, _MONTHS)
    states = await activity.states(merchant, frame.currency)
    now = months[-1]
    chart = draw_bars(
        [view.formats.month(each.begins) for each in months],
        [each.change(*COLUMNS["sold"]) for each in months],
        [-each.change("redeem") for each in months],
        title=view.word("Sold and redeemed by month"),
        show=lambda value: view.formats.short(value, frame.currency),
    )
    return frame.show(
        "console/overview.html",
        months=months,
        states=states,
        owed=now.closing,
        cards=sum(each.cards for each in states),
        chart=chart,
        now=now,
        opening=now.opening,
        columns=COLUMNS,
    )


handlers = [overview]
