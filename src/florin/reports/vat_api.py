"""API: the routes of the VAT report."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from florin.identity.authentication import Caller
from florin.kit.csv_text import csv_rows
from florin.kit.errors import Overloaded
from florin.kit.openapi.responses import refusal_responses
from florin.reports.export_api import From, To, csv_file, read_span
from florin.reports.report_runner import ReportRunner
from florin.reports.vat import COLUMNS, VatReport, read_vat_lines

_REFUSALS = refusal_responses(Overloaded)


@get("/reports/vat", summary="Get the VAT report", responses=_REFUSALS)
async def get_vat_report(
    caller: Caller, reports: ReportRunner, begin: From = None, end: To = None
) -> VatReport:
    """What is taxable, by month in the merchant's time zone, currency, treatment and rate: of
    single-purpose cards what was sold, of multi-purpose cards what was redeemed.
    """
    return await _read_report(caller, reports, begin, end)


@get(
    "/reports/vat/export",
    summary="Export the VAT report",
    media_type="text/csv",
    opt={"unbounded": True},
    responses=_REFUSALS,
)
async def export_vat(
    caller: Caller, reports: ReportRunner, begin: From = None, end: To = None
) -> Stream:
    """The lines of the VAT report as a CSV file, amounts in minor units."""
    report = await _read_report(caller, reports, begin, end)
    return csv_file([csv_rows([COLUMNS, *(line.cells() for line in report.lines)])], "vat.csv")


async def _read_report(
    caller: Caller, reports: ReportRunner, begin: str | None, end: str | None
) -> VatReport:
    caller.needs("reports:read")
    first, last, zone = await read_span(caller, reports, begin, end)
    lines = await read_vat_lines(reports, caller.merchant, first, last, zone)
    return VatReport(from_=first, to=last, lines=lines)


handlers: list[HTTPRouteHandler] = [get_vat_report, export_vat]
