"""Languages: the gettext catalogues of the pages, and the language that a request gets.

A source text is English and its own key, so a text without a translation is shown in English.
Another language is one more folder in `locales`.
"""

import io
from functools import cache
from importlib.resources import files

from babel import Locale
from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

DEFAULT = "en"
# The region decides how numbers and dates are written: euros in Ireland, days before months.
_REGIONS = {"en": "en_IE", "de": "de_DE"}
_ACCEPTED_MAX = 20  # languages of an Accept-Language header that are read


@cache
def language_codes() -> tuple[str, ...]:
    """The languages that have a catalogue, the default first."""
    found = {each.name for each in files("florin").joinpath("web", "locales").iterdir()}
    return (DEFAULT, *sorted(found - {DEFAULT}))


@cache
def read_catalogue(language: str) -> Translations:
    """The translations of a language, compiled from its `.po` file."""
    path = files("florin").joinpath("web", "locales", language, "florin.po")
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(path.read_bytes()), locale=language))
    compiled.seek(0)
    return Translations(compiled, domain="florin")


@cache
def format_locale(language: str) -> Locale:
    """The locale for numbers, money and dates."""
    return Locale.parse(_REGIONS.get(language, language))


def choose_language(accept_language: str, asked: str | None = None) -> str:
    """The language of an answer: `asked` in the URL, or the best of an Accept-Language header
    (RFC 9110, 12.5.4), or the default.
    """
    if asked in language_codes():
        return asked
    ranked: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:_ACCEPTED_MAX]:
        tag, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), tag.strip()))
        except ValueError:
            continue
    preferred = [tag for _, tag in sorted(ranked, key=lambda each: each[0])]
    return negotiate_locale(preferred, language_codes(), sep="-") or DEFAULT
