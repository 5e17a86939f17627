"""Charts: bars and areas of amounts by month. The numbers are in a table next to each chart."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

_LEFT, _TOP, _BOTTOM = 52, 12, 26
_BAR_MAX = 18.0


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _scale(most: int) -> tuple[int, int]:
    """The distance of two lines of an axis, and its end, above `most`."""
    power: int = 10 ** max(0, len(str(max(most, 1))) - 1)
    step = next(
        each for each in (power // 5, power // 2, power, 2 * power) if each and most <= 5 * each
    )
    return step, max(step, math.ceil(most / step) * step)


def draw_bars(
    labels: Sequence[str],
    first: Sequence[int],
    second: Sequence[int],
    *,
    title: str,
    show: Callable[[int], str],
    width: int = 640,
    height: int = 240,
) -> Markup:
    """Two series of bars next to each other, the second one hatched. `show` formats the axis."""
    step, top = _scale(max((*first, *second, 1)))

    def y(value: int) -> str:
        return _n(_TOP + (height - _TOP - _BOTTOM) * (1 - value / top))

    parts = [_begin(title, width, height), _HATCH]
    for line in range(0, top + 1, step):
        parts.append(f'<path class="ax" d="M{_LEFT} {y(line)}H{width}"/>')
        place = f'x="{_LEFT - 6}" y="{y(line)}" dy="4" text-anchor="end"'
        parts.append(f"<text {place}>{escape(show(line))}</text>")
    group = (width - _LEFT) / max(len(labels), 1)
    bar = min(_BAR_MAX, group * 0.32)
    for n, label in enumerate(labels):
        x = _LEFT + group * (n + 0.5)
        parts.append(
            f'<text x="{_n(x)}" y="{height - 8}" text-anchor="middle">{escape(label)}</text>'
        )
        parts.append(
            f'<path class="a" d="M{_n(x - bar - 1)} {y(0)}V{y(first[n])}h{_n(bar)}V{y(0)}z"/>'
        )
        if second[n] <= 0:
            continue
        shape = f"M{_n(x + 1)} {y(0)}V{y(second[n])}h{_n(bar)}V{y(0)}z"
        parts.append(f'<path fill="url(#hat)" stroke="none" d="{shape}"/>')
        parts.append(f'<path fill="none" class="bl" d="{shape}"/>')
    parts.append(f'<path class="base" d="M{_LEFT} {y(0)}H{width}"/></svg>')
    return Markup("".join(parts))  # noqa: S704 -- all text in it is escaped


def draw_area(
    labels: Sequence[str],
    values: Sequence[int],
    *,
    title: str,
    show: Callable[[int], str],
    width: int = 640,
    height: int = 200,
) -> Markup:
    """A line of amounts over its ground, the last one named. `show` formats the amounts."""
    step, top = _scale(max((*values, 1)))
    right = 64  # room for the last amount
    apart = (width - _LEFT - right) / max(len(values) - 1, 1)

    def x(place: int) -> str:
        return _n(_LEFT + apart * place)

    def y(value: int) -> str:
        return _n(_TOP + (height - _TOP - _BOTTOM) * (1 - max(value, 0) / top))

    parts = [_begin(title, width, height)]
    for line in range(0, top + 1, step):
        parts.append(f'<path class="ax" d="M{_LEFT} {y(line)}H{width - right}"/>')
        place = f'x="{_LEFT - 6}" y="{y(line)}" dy="4" text-anchor="end"'
        parts.append(f"<text {place}>{escape(show(line))}</text>")
    shape = "L".join(f"{x(n)} {y(value)}" for n, value in enumerate(values))
    last = len(values) - 1
    parts.append(
        f'<path class="fill" d="M{shape}V{y(0)}H{_LEFT}Z"/><path class="ln" d="M{shape}"/>'
    )
    for n, label in enumerate(labels):
        if (last - n) % 2 == 0:
            place = f'x="{x(n)}" y="{height - 8}" text-anchor="middle"'
            parts.append(f"<text {place}>{escape(label)}</text>")
    parts.append(f'<path class="base" d="M{_LEFT} {y(0)}H{width - right}"/>')
    parts.append(f'<circle class="dot" cx="{x(last)}" cy="{y(values[-1])}" r="5"/>')
    place = f'x="{x(last)}" dx="9" y="{y(values[-1])}" dy="4"'
    parts.append(f"<text {place}>{escape(show(values[-1]))}</text></svg>")
    return Markup("".join(parts))  # noqa: S704 -- all text in it is escaped


_HATCH = (
    '<defs><pattern id="hat" width="5" height="5" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><path class="hatch" d="M0 0V5"/></pattern></defs>'
)


def _begin(title: str, width: int, height: int) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(title)}">'
    )
