"""Code 128: the barcode of a text (ISO/IEC 15417, code set B) as widths of bars and spaces."""

from itertools import accumulate

QUIET_ZONE = 10  # modules of white on both sides
_START_B, _STOP, _MODULUS = 104, 106, 103
_FIRST, _LAST = " ", "~"
# By symbol: the widths of bar, space, bar, space, bar, space (the stop has a further bar).
_WIDTHS = """
212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232
122132 122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 311222 321122
321221 312212 322112 322211 212123 212321 232121 111323 131123 131321 112313 132113 132311
211313 231113 231311 112133 112331 132131 113123 113321 133121 313121 211331 231131 213113
213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 111422
121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111
241112 134111 111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121
412121 111143 111341 131141 114113 114311 411113 411311 113141 114131 311141 411131 211412
211214 211232 2331112
""".split()  # noqa: SIM905 -- a list of literals would take 110 lines


def code128_widths(text: str) -> list[int]:
    """The widths in modules of bars and spaces in turn, beginning with a bar. Raises ValueError for
    a character that is not printable ASCII.
    """
    if not text or not all(_FIRST <= each <= _LAST for each in text):
        msg = "a barcode needs printable ASCII"
        raise ValueError(msg)
    values = [ord(each) - ord(_FIRST) for each in text]
    check = (_START_B + sum(n * value for n, value in enumerate(values, 1))) % _MODULUS
    symbols = (_START_B, *values, check, _STOP)
    return [int(width) for symbol in symbols for width in _WIDTHS[symbol]]


def code128_svg(text: str, *, height: int = 40) -> str:
    """An SVG image; its unit is a module, `height` is in modules."""
    total, bars = code128_path(text, height=height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}"'
        f' shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{total}v{height}H0z"/>'
        f'<path d="{bars}"/></svg>'
    )


def code128_path(text: str, *, height: int) -> tuple[int, str]:
    """The width in modules with the quiet zones, and the bars as the path of an SVG image."""
    widths = code128_widths(text)
    starts = [QUIET_ZONE + start for start in accumulate(widths, initial=0)]
    bars = "".join(
        f"M{start} 0h{width}v{height}h-{width}z"
        for start, width in list(zip(starts, widths, strict=False))[::2]
    )
    return sum(widths) + 2 * QUIET_ZONE, bars
