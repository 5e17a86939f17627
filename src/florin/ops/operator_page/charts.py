"""Charts: small line drawings as SVG, by attributes only: the page's policy allows no style."""

from markupsafe import Markup


def spark(
    values: list[float],
    *,
    mark: float | None = None,
    second: list[float] | None = None,
    width: int = 240,
    height: int = 40,
    fill: bool = True,
) -> Markup:
    """Return a line from 0 up; `mark` is a dotted limit, `second` a dashed line.

    Empty with fewer than two values. Hidden from screen readers: the figures stand next to it.
    """
    if len(values) < 2:  # noqa: PLR2004 - no line
        return Markup("")
    highest = max((*values, *(second or ()), *((mark,) if mark is not None else ())))
    highest = highest if highest > 0 else 1.0

    def y(value: float) -> str:
        return _number(height - 2 - value * (height - 4) / highest)

    def line(points: list[float]) -> str:
        step = width / (len(points) - 1)
        return "M" + "L".join(f"{_number(i * step)} {y(value)}" for i, value in enumerate(points))

    box = f'viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true"'
    parts = [f'<svg class="chart spark" {box}>']
    if fill:
        parts.append(f'<path class="fill" d="{line(values)}L{width} {height}L0 {height}Z"/>')
    if mark is not None:
        parts.append(f'<path class="mark" d="M0 {y(mark)}H{width}"/>')
    parts.append(f'<path class="ln" d="{line(values)}"/>')
    if second and len(second) >= 2:  # noqa: PLR2004 - no line
        parts.append(f'<path class="ln ln2" d="{line(second)}"/>')
    return Markup("".join((*parts, "</svg>")))  # noqa: S704 -- numbers only


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
