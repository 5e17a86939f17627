"""Code sheet: the codes of a job as a print sheet, once, instead of as a CSV file."""

import csv
import io
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from uuid import UUID

from florin.cards.jobs import job as jobs
from florin.cards.jobs.code_export import take_codes
from florin.deliveries.channels.pdf import Paper, require_pdf
from florin.deliveries.channels.print_sheet import PrintedCard, PrintSheet, render_sheet
from florin.deliveries.look import MerchantLook, read_look
from florin.identity.audit_log import AuditActor
from florin.kit.amounts import format_amount, format_last_day, is_known_locale
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.postgres.database import Database, Row

_MERCHANT = "select name, timezone from florin.merchant where id = $1"
SHEET_MAX = 1000  # cards; a PDF of them takes 3 s of a processor and has about 1 MB


class SheetTooLarge(Refusal):
    """A print sheet has at most 1,000 cards: download the codes of this job as CSV."""

    code = "sheet_too_large"
    status = 409


async def take_sheet(
    database: Database, sealer: Sealer, by: AuditActor, job: UUID, *, paper: Paper, locale: str
) -> AsyncGenerator[bytes]:
    """The codes of a job as a PDF; they count as taken once it is made, as in a download of codes.

    Raises what `take_codes` does, and InvalidRequest, SheetTooLarge, PdfNotInstalled.
    """
    require_pdf()
    if not is_known_locale(locale):
        detail = f"{locale} is not a known language tag; give one such as en or pt-BR"
        raise InvalidRequest(detail, param="locale")
    found = await jobs.find_job(database, by.merchant, job)
    if found.done > SHEET_MAX:
        detail = f"a print sheet has at most {SHEET_MAX} cards, and this job made {found.done}"
        raise SheetTooLarge(f"{detail}: download its codes as CSV")
    row = await database.one(_MERCHANT, by.merchant)
    assert row is not None, "merchants are never deleted"
    look = await read_look(database, by.merchant)
    layout = partial(_lay_out, row, look, paper, locale)
    return await take_codes(database, sealer, by, job, layout)


async def _lay_out(
    merchant: Row, look: MerchantLook, paper: Paper, locale: str, exported: str
) -> bytes:
    """The sheet of the cards that a CSV export has."""
    cards = [
        PrintedCard(
            amount=format_amount(int(line["amount"]), line["currency"], locale),
            code=line["code"],
            last_day=_last_day(line["expires_at"], merchant["timezone"], locale),
            pin=line.get("pin") or None,
        )
        for line in csv.DictReader(io.StringIO(exported))
    ]
    sheet = PrintSheet(merchant=merchant["name"], locale=locale, cards=cards, look=look)
    return await render_sheet(sheet, paper)


def _last_day(expires_at: str, timezone: str, locale: str) -> str | None:
    if not expires_at:
        return None
    return format_last_day(datetime.fromisoformat(expires_at), timezone, locale)
