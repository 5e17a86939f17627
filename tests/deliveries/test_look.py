"""Look: text on a card reads in any colours; a voucher has the colours and the image."""

import dataclasses
import io
import itertools
import struct
import zlib

import pypdf
import pytest

from florin.deliveries.channels.pdf import render_voucher
from florin.deliveries.look import PLAIN, MerchantLook
from florin.kit.colors import READABLE, measure_contrast
from florin.merchants.branding import CARD_COLOR, LINE_COLOR
from tests.deliveries.test_vouchers import VOUCHER

LEVELS = (0x00, 0x55, 0xAA, 0xFF)
COLORS = [f"#{r:02X}{g:02X}{b:02X}" for r, g, b in itertools.product(LEVELS, LEVELS, LEVELS)]
NIGHT = "#161E1B"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def red_png() -> bytes:
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff\0\0" * 32) * 32)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("line", ["#E9BE6B", "#000000", "#FFFFFF", "#777777"])
def test_text_on_a_card_reads_in_any_colours(line: str) -> None:
    for card in COLORS:
        look = MerchantLook(card=card, line=line)
        for text in (look.ink, look.label, look.soft):
            assert measure_contrast(text, card) >= READABLE, (card, text)
        assert measure_contrast(look.night, NIGHT) >= READABLE
        assert measure_contrast(look.night, look.night_ink) >= READABLE


def test_a_merchant_without_a_look_has_the_same_everywhere() -> None:
    assert (PLAIN.card, PLAIN.line) == (CARD_COLOR, LINE_COLOR)


async def test_a_voucher_has_the_colours_and_the_image_of_its_merchant() -> None:
    look = MerchantLook(card="#7A1F2B", line="#F2D08A", logo=red_png(), logo_kind="image/png")
    made = await render_voucher(dataclasses.replace(VOUCHER, look=look), "a4")
    [sheet] = pypdf.PdfReader(io.BytesIO(made)).pages
    plain = pypdf.PdfReader(io.BytesIO(await render_voucher(VOUCHER, "a4"))).pages[0]
    assert len(sheet.images) == len(plain.images) + 1
    assert VOUCHER.code in sheet.extract_text()
