"""Images: what is refused, and what is left out of those that are stored."""

import struct
import zlib

import pytest

from florin.merchants.images import ImageInvalid, read_image

SIDE = 1024
PLACE = b"51.5N 0.1W"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*more: bytes, pixels: bytes | None = None, end: bytes = b"", **header: int) -> bytes:
    """A grey image of 32 x 32 pixels, with more chunks before its pixels."""
    wide, high = header.get("wide", 32), header.get("high", 32)
    rows = (b"\0" + b"\x80" * 32) * 32 if pixels is None else pixels
    top = struct.pack(
        ">IIBBBBB", wide, high, header.get("depth", 8), header.get("color", 0), 0, 0, 0
    )
    parts = (chunk(b"IHDR", top), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + end


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def jpeg(*more: bytes, scan: bytes = b"\x12\xff\x00\x34\xff\xd0\x56", end: bytes = b"") -> bytes:
    """The parts of an image of 40 x 32 pixels; what it shows is not decoded."""
    frame = segment(0xC0, struct.pack(">BHHB", 8, 32, 40, 1) + bytes(3))
    return b"".join(
        (b"\xff\xd8", *more, frame, segment(0xDA, b"\x01\x01\x00"), scan, b"\xff\xd9", end)
    )


def test_a_png_is_kept_without_what_does_not_belong_to_the_picture() -> None:
    sent = png(chunk(b"tEXt", PLACE), chunk(b"eXIf", PLACE), end=b"<script>" + PLACE)
    found = read_image(sent, side_max=SIDE)
    assert (found.kind, found.width, found.height) == ("image/png", 32, 32)
    assert found.content == png()


def test_a_jpeg_is_kept_without_what_does_not_belong_to_the_picture() -> None:
    sent = jpeg(segment(0xE1, b"Exif\0\0" + PLACE), segment(0xFE, PLACE), end=PLACE)
    found = read_image(sent, side_max=SIDE)
    assert (found.kind, found.width, found.height) == ("image/jpeg", 40, 32)
    assert found.content == jpeg()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
        pytest.param(b"GIF89a" + bytes(40), id="gif"),
        pytest.param(png()[:-20], id="cut off"),
        pytest.param(png().replace(b"IDAT", b"IDAX"), id="unknown chunk with a wrong check sum"),
        pytest.param(png(chunk(b"gAMA", bytes(4))[:-4] + bytes(4)), id="wrong check sum"),
        pytest.param(png(pixels=b"\0" * 10), id="too few pixels"),
        pytest.param(png(pixels=bytes(10_000_000)), id="too many pixels"),
        pytest.param(png(depth=3), id="depth of no colour type"),
        pytest.param(png(color=5), id="unknown colour type"),
        pytest.param(png(chunk(b"QRST", b"")), id="unknown chunk that is needed"),
        pytest.param(png(chunk(b"IHDR", bytes(13))), id="two headers"),
        pytest.param(jpeg()[:-2], id="jpeg without its end"),
        pytest.param(jpeg()[:30], id="jpeg cut off"),
        pytest.param(b"\xff\xd8\xff\xd9", id="jpeg without a picture"),
        pytest.param(jpeg(segment(0x01, b"")), id="unknown marker"),
        pytest.param(b"\xff\xd8" + bytes(200), id="no markers"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageInvalid):
        read_image(content, side_max=SIDE)


def test_a_picture_that_is_too_large_is_not_unpacked() -> None:
    found = read_image(png(wide=100_000, high=100_000), side_max=SIDE)
    assert found.width == 100_000  # refused by its sides, see branding.py
