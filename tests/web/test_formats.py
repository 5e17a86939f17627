"""Formats: amounts on the axis of a chart, in the reader's language."""

import pytest
from babel import Locale

from florin.web.formats import Formats


@pytest.mark.parametrize(
    ("language", "minor", "currency", "shown"),
    [
        ("en", 0, "EUR", "0"),
        ("en", 4000, "EUR", "€40"),
        ("en", 20, "EUR", "€0.20"),
        ("en", 150, "EUR", "€1.5"),
        ("en", 150_000, "EUR", "€1.5K"),
        ("en", 12_500_000, "EUR", "€125K"),
        ("en", 1500, "JPY", "¥1.5K"),
        ("de", 1500, "KWD", "1,5\xa0KWD"),
        ("de", 4000, "EUR", "40\xa0€"),
        ("de", 150_000, "EUR", "1500\xa0€"),
        ("de", 150_000_000, "EUR", "1,5\xa0Mio.\xa0€"),
    ],
)
def test_the_line_of_an_axis_has_its_exact_amount(
    language: str, minor: int, currency: str, shown: str
) -> None:
    assert Formats(Locale.parse(language)).short(minor, currency) == shown
