"""Barcodes for tests: images of Florin's own are drawn and read by zxing-cpp."""

import re
from typing import Any

import zxingcpp

_MODULE = 4  # pixels


def read_modules(rows: list[list[bool]]) -> tuple[str, str]:
    """Read a picture of modules, True for black: the format and the text of its one barcode."""
    wide = [[0 if dark else 255 for dark in row for _ in range(_MODULE)] for row in rows]
    picture = bytes(value for row in wide for _ in range(_MODULE) for value in row)
    image = memoryview(picture).cast("B", (len(wide) * _MODULE, len(wide[0])))
    read: Any = zxingcpp.read_barcodes(image)
    [found] = read
    return str(found.format), str(found.text)


def read_qr_svg(svg: str) -> str:
    """Read a QR code as segno draws it: lines of modules in one path."""
    width, height = (int(float(n)) for n in re.findall(r'(?:width|height)="([\d.]+)"', svg)[:2])
    scale_text = re.search(r"scale\(([\d.]+)\)", svg)
    assert scale_text is not None
    scale = float(scale_text[1])
    size = round(width / scale), round(height / scale)
    rows = [[False] * size[0] for _ in range(size[1])]
    x = y = 0.0
    path = re.findall(r'class="qrline"[^>]* d="([^"]+)"|stroke="#000"[^>]* d="([^"]+)"', svg)
    for kind, numbers in re.findall(r"([Mmh])([-\d. ]+)", "".join(path[0])):
        values = [float(n) for n in re.findall(r"-?[\d.]+", numbers)]
        if kind == "M":
            x, y = values
        elif kind == "m":
            x, y = x + values[0], y + values[1]
        else:
            for column in range(round(x), round(x + values[0])):
                rows[int(y)][column] = True
            x += values[0]
    return read_modules(rows)[1]
