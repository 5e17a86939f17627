"""API: the routes that export cards, entries and the journal as CSV."""

from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.response import Stream

from florin.identity.authentication import Caller
from florin.kit.errors import InvalidRequest, Overloaded
from florin.kit.openapi.responses import refusal_responses
from florin.kit.timestamps import parse_instant
from florin.reports import exports, journal
from florin.reports.balances import AsOfNotSettled
from florin.reports.report_runner import ReportRunner

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_LENGTH = len("2027-01-31")
From = Annotated[
    str | None,
    Parameter(query="from", description="An instant, or a day in the merchant's time zone."),
]
To = Annotated[
    str | None,
    Parameter(
        query="to",
        description="An instant, which is not included any more, or a day, which is. Default: the"
        " latest settled instant.",
    ),
]
_REFUSALS = refusal_responses(Overloaded)


@get(
    "/cards/export",
    summary="Export cards",
    media_type="text/csv",
    opt={"unbounded": True},
    responses=refusal_responses(AsOfNotSettled, Overloaded),
)
async def export_cards(
    caller: Caller,
    reports: ReportRunner,
    as_of: Annotated[
        str | None, Parameter(description="RFC 3339. Default: the latest settled instant.")
    ] = None,
) -> Stream:
    """All cards as a CSV file, with the balances, states and dates that they had at an instant;
    recipients and metadata are those of now. Without codes. Text that a spreadsheet would run as a
    formula begins with an apostrophe.
    """
    caller.needs("cards:read")
    given = None if as_of is None else parse_instant(as_of, param="as_of")
    settled = await reports.settle(caller.merchant, given, param="as_of")
    lines = exports.export_cards(reports, caller.merchant, settled.at, _BEGIN)
    return csv_file(lines, "cards.csv")


@get(
    "/entries/export",
    summary="Export entries",
    media_type="text/csv",
    opt={"unbounded": True},
    responses=_REFUSALS,
)
async def export_entries(
    caller: Caller, reports: ReportRunner, begin: From = None, end: To = None
) -> Stream:
    """All entries of a time as a CSV file, in the order in which they happened; at most until the
    latest settled instant.
    """
    caller.needs("cards:read")
    first, last, _ = await read_span(caller, reports, begin, end)
    return csv_file(exports.export_entries(reports, caller.merchant, first, last), "entries.csv")


@get(
    "/reports/journal",
    summary="Export the journal",
    media_type="text/csv",
    opt={"unbounded": True},
    responses=_REFUSALS,
)
async def export_journal(
    caller: Caller, reports: ReportRunner, begin: From = None, end: To = None
) -> Stream:
    """What moved on each account, by day in the merchant's time zone and currency, as a CSV file.
    Debits are positive: of each day and currency, `net` adds up to zero.
    """
    caller.needs("reports:read")
    first, last, zone = await read_span(caller, reports, begin, end)
    content = await journal.read_journal(reports, caller.merchant, first, last, zone)
    return csv_file([content], "journal.csv")


async def read_span(
    caller: Caller, reports: ReportRunner, begin: str | None, end: str | None
) -> tuple[datetime, datetime, str]:
    """The instants from which on and before which, at most until the latest settled one, and the
    zone of the merchant. Raises InvalidRequest.
    """
    settled = await reports.settle(caller.merchant, None, param="to")
    zone, latest = ZoneInfo(settled.zone), settled.at + timedelta(microseconds=1)
    first = _BEGIN if begin is None else _instant(begin, zone, "from", days=0)
    last = latest if end is None else min(latest, _instant(end, zone, "to", days=1))
    if first > last:
        raise InvalidRequest("from must not be after to, nor in the future", param="from")
    return first, last, settled.zone


def _instant(text: str, zone: ZoneInfo, param: str, *, days: int) -> datetime:
    if len(text) != _DATE_LENGTH:
        return parse_instant(text, param=param)
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{param} must be a day such as 2027-01-31 or an RFC 3339 instant", param=param
        ) from None


def csv_file(lines: AsyncGenerator[bytes] | list[bytes], name: str) -> Stream:
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
    }
    return Stream(lines, media_type="text/csv; charset=utf-8", headers=headers)


handlers: list[HTTPRouteHandler] = [export_cards, export_entries, export_journal]
