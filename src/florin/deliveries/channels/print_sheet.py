"""Print sheet: many cards on the pages of one PDF, tagged (PDF/UA-1), with its fonts embedded."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from florin.deliveries.channels.pdf import Paper, compile_pdf, logo_svg, qr_svg
from florin.deliveries.look import MerchantLook
from florin.deliveries.texts import language_of, text_of
from florin.kit.code128 import code128_svg

CARDS_OF_PAGE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCard:
    """A card to print; `code` as it is shown, `last_day` as it is read."""

    amount: str
    code: str
    last_day: str | None
    pin: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintSheet:
    """The cards of a sheet, in their order."""

    merchant: str
    locale: str
    cards: Sequence[PrintedCard]
    look: MerchantLook


async def render_sheet(sheet: PrintSheet, paper: Paper) -> bytes:
    """The PDF, ten cards a page, of 85 × 54 mm on A4 and 3.5 × 2 in on US Letter; about 3 ms of a
    processor for each card. Raises PdfNotInstalled.
    """  # noqa: RUF002 -- typography
    return await asyncio.to_thread(_compile, sheet, paper)


def _compile(sheet: PrintSheet, paper: Paper) -> bytes:
    return compile_pdf(sheet_template(), sheet_values(sheet, paper))


def sheet_values(sheet: PrintSheet, paper: Paper) -> dict[str, str]:
    """What the template reads from `sys.inputs`."""
    locale, look = sheet.locale, sheet.look
    kind = text_of(locale, "gift_card")
    return {
        "paper": paper,
        "language": language_of(locale),
        "title": f"{kind}: {sheet.merchant}",
        "merchant": sheet.merchant,
        "kind": kind,
        "cards": msgspec.json.encode([_values(card, locale) for card in sheet.cards]).decode(),
        "qr_text": text_of(locale, "voucher.qr"),
        "barcode_text": text_of(locale, "voucher.barcode"),
        "card": look.card,
        "ink": look.ink,
        "label": look.label,
        "logo": logo_svg(look),
    }


def _values(card: PrintedCard, locale: str) -> dict[str, str]:
    return {
        "amount": card.amount,
        "validity": text_of(locale, "valid_until", day=card.last_day) if card.last_day else "",
        "code": card.code,
        "pin": text_of(locale, "voucher.pin", pin=card.pin) if card.pin else "",
        "qr": qr_svg(card.code).decode(),
        "barcode": code128_svg(card.code.replace("-", "")),
    }


@cache
def sheet_template() -> bytes:
    """The source of the pages, without data."""
    return (files("florin.deliveries") / "templates" / "sheet.typ").read_bytes()
