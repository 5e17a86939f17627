"""PDF: a card as a voucher to print, tagged (PDF/UA-1), with its fonts embedded.

Typst is an extra (`florin[pdf]`) and imported when the first voucher is made. The data of a card go
in as values and never become source text.
"""

import asyncio
import base64
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Literal

import segno

from florin.deliveries.look import PLAIN, MerchantLook
from florin.deliveries.texts import language_of, text_of
from florin.kit.code128 import code128_svg
from florin.kit.errors import Refusal

Paper = Literal["a4", "us-letter"]
PAPERS: tuple[Paper, ...] = ("a4", "us-letter")
# Countries that print on US Letter (CLDR, paperSize).
_LETTER = frozenset("BZ CA CL CO CR GT MX NI PA PH PR SV US VE".split())  # noqa: SIM905


class PdfNotInstalled(Refusal):
    """This installation makes no PDF: install florin[pdf]."""

    code = "pdf_not_installed"
    status = 501


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A card as its reader sees it. `code` as it is printed; `barcode` without hyphens."""

    merchant: str
    locale: str
    amount: str
    last_day: str | None
    name: str | None
    message: str | None
    code: str
    barcode: str
    pin: str | None
    look: MerchantLook = PLAIN


def usual_paper(country: str) -> Paper:
    """What people in a country print on."""
    return "us-letter" if country in _LETTER else "a4"


async def render_voucher(voucher: Voucher, paper: Paper) -> bytes:
    """The PDF. Raises PdfNotInstalled."""
    return await asyncio.to_thread(_compile, voucher, paper)


def qr_svg(text: str) -> bytes:
    """A QR code of a text, with its quiet zone, black on white."""
    image = io.BytesIO()
    segno.make_qr(text, error="m").save(
        image, kind="svg", scale=4, border=4, light="#fff", xmldecl=False
    )
    return image.getvalue()


def _compile(voucher: Voucher, paper: Paper) -> bytes:
    return compile_pdf(voucher_template(), voucher_values(voucher, paper))


def require_pdf() -> None:
    """Raises PdfNotInstalled."""
    if find_spec("typst") is None:
        raise PdfNotInstalled


def compile_pdf(template: bytes, values: dict[str, str]) -> bytes:
    """The PDF of a template with its values. Raises PdfNotInstalled."""
    try:
        import typst
    except ImportError:
        raise PdfNotInstalled from None
    compile_: Any = typst.compile
    made: bytes = compile_(
        template,
        format="pdf",
        ignore_system_fonts=True,
        sys_inputs=values,
        pdf_standards=["ua-1"],
    )
    return made


def voucher_values(voucher: Voucher, paper: Paper) -> dict[str, str]:
    """What the template reads from `sys.inputs`."""
    locale = voucher.locale
    heading = text_of(locale, "gift.heading")
    if voucher.name is not None:
        heading = text_of(locale, "gift.heading_name", name=voucher.name)
    kind = text_of(locale, "gift_card")
    validity = voucher.last_day and text_of(locale, "valid_until", day=voucher.last_day)
    return {
        "paper": paper,
        "language": language_of(locale),
        "title": f"{kind}: {voucher.amount}, {voucher.merchant}",
        "merchant": voucher.merchant,
        "kind": kind,
        "amount": voucher.amount,
        "validity": validity or "",
        "heading": heading,
        "message": voucher.message or "",
        "code": voucher.code,
        "pin": text_of(locale, "voucher.pin", pin=voucher.pin) if voucher.pin else "",
        "qr": qr_svg(voucher.code).decode(),
        "qr_text": text_of(locale, "voucher.qr"),
        "barcode": code128_svg(voucher.barcode),
        "barcode_text": text_of(locale, "voucher.barcode"),
        "card": voucher.look.card,
        "ink": voucher.look.ink,
        "label": voucher.look.label,
        "soft": voucher.look.soft,
        "line": voucher.look.line,
        "logo": logo_svg(voucher.look),
        "footer": text_of(locale, "voucher.footer", merchant=voucher.merchant),
    }


def logo_svg(look: MerchantLook) -> str:
    """The image within an SVG image, as the source of a page takes text only; or nothing."""
    if look.logo is None:
        return ""
    data = base64.b64encode(look.logo).decode()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 34 34" width="34" height="34">'
        f'<image href="data:{look.logo_kind};base64,{data}" width="34" height="34"/></svg>'
    )


@cache
def voucher_template() -> bytes:
    """The source of the page, without data."""
    return (files("florin.deliveries") / "templates" / "voucher.typ").read_bytes()
