"""Codes: QR codes and barcodes as SVG, dark on white, one path."""

import segno
from markupsafe import Markup

from florin.kit.code128 import code128_path


def draw_qr(text: str, label: str) -> Markup:
    """A QR code with a quarter of its area redundant (ISO/IEC 18004, level Q)."""
    matrix = segno.make(text, error="q", micro=False, boost_error=False).matrix
    path: list[str] = []
    for y, row in enumerate(matrix):
        x = 0
        while x < len(row):
            width = 0
            while x + width < len(row) and row[x + width]:
                width += 1
            if width:
                path.append(f"M{x} {y}h{width}v1h-{width}z")
            x += width or 1
    size = len(matrix)
    return Markup(
        '<svg class="qr" viewBox="0 0 {0} {0}" shape-rendering="crispEdges" role="img"'
        ' aria-label="{1}"><path d="{2}"/></svg>'
    ).format(size, label, "".join(path))


def draw_barcode(text: str, label: str) -> Markup:
    """A Code 128 of printable ASCII, as wide as its place; bars may be of any height."""
    width, path = code128_path(text, height=1)
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 1" preserveAspectRatio="none"'
        ' shape-rendering="crispEdges" role="img" aria-label="{}"><path d="{}"/></svg>'
    ).format(width, label, path)
