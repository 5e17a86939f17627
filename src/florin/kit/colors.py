"""Colours: contrast, mixtures and readable shades of sRGB colours, each `#` with six digits."""

from functools import lru_cache
from itertools import pairwise

READABLE = 4.5  # least contrast of text (WCAG 2.2, 1.4.3)
_LINEAR_BELOW = 0.04045  # of sRGB (IEC 61966-2-1)


def measure_contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, 1.4.3)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def ink_on(ground: str) -> str:
    """White or black: one of them reads at 4.58 : 1 or more on any colour."""
    return "#FFFFFF" if measure_contrast(ground, "#FFFFFF") >= READABLE else "#000000"


def mix_colors(color: str, other: str, share: float) -> str:
    """A colour with a share of another one."""
    pairs = ((int(color[at:to], 16), int(other[at:to], 16)) for at, to in pairwise((1, 3, 5, 7)))
    return "#" + "".join(f"{round(one + (two - one) * share):02X}" for one, two in pairs)


@lru_cache(maxsize=1000)  # 0.5 ms, several times in each mail and page of a merchant
def readable_shade(color: str, towards: str, grounds: tuple[str, ...]) -> str:
    """The colour, or the nearest shade of it that reads on all grounds."""
    for step in range(101):
        shade = mix_colors(color, towards, step / 100)
        if all(measure_contrast(shade, ground) >= READABLE for ground in grounds):
            return shade
    return towards


def _luminance(color: str) -> float:
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        each / 12.92 if each <= _LINEAR_BELOW else ((each + 0.055) / 1.055) ** 2.4
        for each in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
