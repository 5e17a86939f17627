"""PNG for tests: decodes 8-bit images without interlacing to rows of grey values."""

import struct
import zlib


def grey_rows(png: bytes) -> list[bytes]:
    """The brightness of each pixel; a transparent one is white."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, width, height, channels = 8, b"", 0, 0, 0
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
            channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
        elif kind == b"IDAT":
            data += body
        at += 12 + size
    raw, stride = zlib.decompress(data), width * channels
    before, rows = bytes(stride), list[bytes]()
    for n in range(height):
        line = raw[n * (stride + 1) : (n + 1) * (stride + 1)]
        before = _unfilter(line[0], bytearray(line[1:]), before, channels)
        rows.append(bytes(before[x * channels] for x in range(width)))
    return rows


def _unfilter(kind: int, line: bytearray, above: bytes, step: int) -> bytes:
    if kind == 0:
        return bytes(line)
    if kind == 2:
        return bytes((a + b) & 0xFF for a, b in zip(line, above, strict=True))
    for x in range(len(line)):
        left = line[x - step] if x >= step else 0
        corner = above[x - step] if x >= step else 0
        if kind == 1:
            line[x] = (line[x] + left) & 0xFF
        elif kind == 3:
            line[x] = (line[x] + (left + above[x]) // 2) & 0xFF
        elif kind == 4:
            guess = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda each: abs(guess - each))
            line[x] = (line[x] + nearest) & 0xFF
    return bytes(line)
