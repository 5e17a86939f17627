"""Images: PNG and JPEG, checked part by part, without what does not belong to the picture.

What an image claims to be does not count, its bytes do. Text, places and thumbnails that cameras
and editors add (EXIF, XMP, comments) are left out, and so is anything after the end.
"""

import struct
import zlib
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"IDAT", b"IEND"))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG, 11.2.1)
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_JPEG = b"\xff\xd8"
_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive (T.81, table B.1)
_ADOBE = 0xEE  # says how colours are stored
_JPEG_KEPT = frozenset((*_FRAMES, 0xC4, 0xDB, 0xDD, 0xE0, _ADOBE, _SCAN))
_PASSES = 8  # of an interlaced image: at most so many more rows


class ImageInvalid(Exception):
    """The bytes are no image of an accepted kind, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A checked image: its media type, its sides in pixels, and its bytes."""

    kind: str
    width: int
    height: int
    content: bytes


def read_image(content: bytes, *, side_max: int) -> Picture:
    """Raises ImageInvalid. `side_max`: no picture with a longer side is decompressed."""
    try:
        if content.startswith(_PNG):
            return _read_png(content, side_max)
        if content.startswith(_JPEG):
            return _read_jpeg(content)
    except (struct.error, IndexError, ValueError, zlib.error):
        pass
    raise ImageInvalid


def _read_png(content: bytes, side_max: int) -> Picture:
    chunks = _png_chunks(content)
    kinds = [kind for kind, _, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1:
        raise ImageInvalid
    header = struct.unpack(">IIBBBBB", chunks[0][1])
    width, height = header[:2]
    if 0 < width <= side_max and 0 < height <= side_max:
        _check_pixels(header, b"".join(body for kind, body, _ in chunks if kind == b"IDAT"))
    kept = [whole for kind, _, whole in chunks if kind in _PNG_KEPT]
    return Picture("image/png", width, height, b"".join((_PNG, *kept)))


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The chunks up to the end of the image: type, data, and all bytes of each."""
    at = len(_PNG)
    found: list[tuple[bytes, bytes, bytes]] = []
    while not found or found[-1][0] != b"IEND":
        (size,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        (check,) = struct.unpack(">I", content[at + 8 + size : at + 12 + size])
        unknown = kind not in _PNG_KEPT and not kind[0] & 0x20  # and needed to show the image
        if check != zlib.crc32(kind + body) or unknown:
            raise ImageInvalid
        found.append((kind, body, content[at : at + 12 + size]))
        at += 12 + size
    return found


def _check_pixels(header: tuple[int, ...], data: bytes) -> None:
    """The pixels of an image are as many as its header says, and no more are unpacked."""
    width, height, depth, color, compression, filters, interlaced = header
    if depth not in _DEPTHS.get(color, ()) or compression or filters or interlaced > 1:
        raise ImageInvalid
    row = (width * depth * _CHANNELS[color] + 7) // 8 + 1
    least, most = row * height, row * height
    if interlaced:
        least, most = height, most + _PASSES * (height + row)
    unpacking = zlib.decompressobj()
    pixels = unpacking.decompress(data, most + 1)
    if not unpacking.eof or not least <= len(pixels) <= most:
        raise ImageInvalid


def _read_jpeg(content: bytes) -> Picture:
    at, kept = len(_JPEG), [_JPEG]
    sides: tuple[int, int] | None = None
    scanned = False
    while True:
        while content[at + 1] == 0xFF:  # noqa: PLR2004 -- fill bytes
            at += 1
        if content[at] != 0xFF:  # noqa: PLR2004 -- a marker
            raise ImageInvalid
        marker = content[at + 1]
        if marker == _END:
            kept.append(content[at : at + 2])
            break
        (size,) = struct.unpack(">H", content[at + 2 : at + 4])
        end = at + 2 + size
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            sides = (width, height)
        elif marker == _SCAN:
            end, scanned = _end_of_scan(content, end), True
        elif marker not in _JPEG_KEPT and not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # noqa: PLR2004 -- application data, comments
            raise ImageInvalid
        if marker in _JPEG_KEPT:
            kept.append(content[at:end])
        at = end
    if sides is None or not scanned:
        raise ImageInvalid
    return Picture("image/jpeg", *sides, b"".join(kept))


def _end_of_scan(content: bytes, at: int) -> int:
    """Where the next marker is that is neither a stuffed byte nor a restart (T.81, B.1.1.5)."""
    while True:
        at = content.index(b"\xff", at)
        if content[at + 1] != 0 and not 0xD0 <= content[at + 1] <= 0xD7:  # noqa: PLR2004 -- RSTn
            return at
        at += 2
