"""Code 128: read back by zxing-cpp."""

import pytest

from florin.kit.code128 import QUIET_ZONE, code128_svg, code128_widths
from tests.support.barcodes import read_modules


def picture(text: str) -> list[list[bool]]:
    row = [False] * QUIET_ZONE
    for n, width in enumerate(code128_widths(text)):
        row += [n % 2 == 0] * width
    return [row + [False] * QUIET_ZONE] * 40


@pytest.mark.parametrize(
    "text", ["7K2M9QXD4V8RTN3B", "0", "Gift card ~ No. 42", "".join(map(chr, range(32, 127)))]
)
def test_a_barcode_reads_as_its_text(text: str) -> None:
    kind, found = read_modules(picture(text))
    assert found == text
    assert "128" in kind.replace(" ", "")


@pytest.mark.parametrize("text", ["", "é", "a\nb"])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        code128_widths(text)


def test_the_image_has_the_quiet_zones() -> None:
    total = sum(code128_widths("ABC")) + 2 * QUIET_ZONE
    assert f'viewBox="0 0 {total} 40"' in code128_svg("ABC")
