"""Overview: what was sold and redeemed, what is owed, the cards by state, and what waits for a
person.
"""

from litestar import get

from florin.reports.activity import ActivityReports
from florin.reports.attention import (
    COUNTED_MAX,
    DELIVERY_DAYS,
    EXPIRY_DAYS,
    AttentionReports,
)
from florin.web.console.frame import open_frame
from florin.web.console.reports import COLUMNS, EXPIRED
from florin.web.drawing.charts import draw_area, draw_bars
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

_MONTHS = 12


@get("/console", **PAGE)
async def overview(
    view: PageView, visitor: Visitor, activity: ActivityReports, attention: AttentionReports
) -> PageResponse:
    if "reports:read" not in visitor.caller.scopes:  # a cashier works at the till
        return view.go("/till")
    frame = await open_frame(view, visitor)
    merchant = visitor.caller.merchant
    months = await activity.months(merchant, frame.currency, _MONTHS)
    states = await activity.states(merchant, frame.currency)
    waiting = await attention.of(merchant, frame.currency)
    now = months[-1]
    names = [view.formats.month(each.begins) for each in months]
    this_year = [each for each in months if each.first.year == now.first.year]
    chart = draw_bars(
        names,
        [each.change(*COLUMNS["sold"]) for each in months],
        [-each.change("redeem") for each in months],
        title=view.word("Sold and redeemed by month"),
        show=lambda value: view.formats.short(value, frame.currency),
    )
    owed_chart = draw_area(
        names,
        [each.closing for each in months],
        title=view.word("Owed at the ends of months"),
        show=lambda value: view.formats.short(value, frame.currency),
    )
    return frame.show(
        "console/overview.html",
        months=months,
        states=states,
        owed=now.closing,
        cards=sum(each.cards for each in states),
        chart=chart,
        owed_chart=owed_chart,
        breakage=-sum(each.change(*EXPIRED) for each in this_year),
        waiting=waiting,
        counted_max=COUNTED_MAX,
        delivery_days=DELIVERY_DAYS,
        expiry_days=EXPIRY_DAYS,
        now=now,
        opening=now.opening,
        columns=COLUMNS,
    )


handlers = [overview]
